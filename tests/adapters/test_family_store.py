from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trimtab.adapters.family_store import (
    FamilyError,
    FolderStore,
    load_family,
    load_samples,
    shipped_families,
    write_profiles,
)
from trimtab.domain.family import ExitRule, Family, Machine, Profile, ProfileSet, TensorSpec
from trimtab.ports import StoredFamily
from trimtab.testing import tiny_family


def rewrite(stored: StoredFamily, **changes: Any) -> Path:
    path = stored.folder / "manifest.json"
    path.write_bytes(msgspec.json.encode(replace(stored.family, **changes)))
    return stored.folder


def with_variant(stored: StoredFamily, index: int, **changes: Any) -> Path:
    variants = list(stored.family.variants)
    variants[index] = replace(variants[index], **changes)
    return rewrite(stored, variants=tuple(variants))


def with_stage(stored: StoredFamily, **changes: Any) -> Path:
    stage = replace(stored.family.variants[0].stages[0], **changes)
    return with_variant(stored, 0, stages=(stage,))


def test_read_as_written(stored: StoredFamily) -> None:
    assert load_family(stored.folder) == stored
    assert FolderStore([stored.folder.parent]).families() == (stored,)


def test_later_folders_win(
    stored: StoredFamily, tmp_path: Path, family_in: Callable[..., StoredFamily]
) -> None:
    other = family_in(tmp_path / "other", replace(tiny_family(), title="mine"))
    another = family_in(tmp_path / "other", tiny_family("a-task"))
    found = FolderStore([stored.folder.parent, tmp_path / "other"]).families()
    assert found == (another, other)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: rewrite(s, task="another"), ["task", "'another'", "'tiny'"]),
        (lambda s: rewrite(s, task="../x"), ["task", "not a name"]),
        (lambda s: rewrite(s, format_version=7), ["format_version", "7"]),
        (lambda s: rewrite(s, reference="nobody"), ["reference", "nobody", "large"]),
        (lambda s: rewrite(s, last_resort="nobody"), ["last_resort", "nobody"]),
        (lambda s: rewrite(s, variants=()), ["variants", "0 entries"]),
        (lambda s: rewrite(s, inputs=()), ["inputs", "0 entries"]),
        (lambda s: rewrite(s, samples="/etc/passwd"), ["samples", "/etc/passwd"]),
        (lambda s: with_variant(s, 1, name="large"), ["share a name"]),
        (lambda s: with_variant(s, 2, name="a b"), ["variants[2]", "name"]),
        (lambda s: with_variant(s, 1, accuracy_frac=1.5), ["variants[1] (small)", "accuracy_frac", "1.5"]),
        (lambda s: with_variant(s, 1, stages=()), ["variants[1] (small)", "stages"]),
        (lambda s: with_variant(s, 1, exit_rules=()), ["exit_rules"]),
        (
            lambda s: with_variant(s, 1, exit_rules=(ExitRule("r", 0, (1.0,), (2.0,)),)),
            ["'r'", "accuracy_frac"],
        ),
        (lambda s: with_variant(s, 1, exit_rules=(ExitRule("r", 0, (0.5,), (1.0,)),)), ["share_frac sums"]),
        (lambda s: with_variant(s, 1, exit_rules=(ExitRule("r", 0, (), (1.0,)),)), ["0 entries for 1"]),
        (lambda s: with_stage(s, artefact="../tiny/large.onnx"), ["stages[0].artefact", "inside"]),
        (lambda s: with_stage(s, artefact="/etc/hosts"), ["stages[0].artefact", "inside"]),
        (lambda s: with_stage(s, artefact=""), ["stages[0].artefact", "inside"]),
        (lambda s: with_stage(s, artefact="gone.onnx"), ["stages[0].artefact", "gone.onnx"]),
        (lambda s: with_stage(s, artefact_bytes=1), ["artefact_bytes", "large.onnx"]),
        (lambda s: with_stage(s, sha256="0" * 64), ["sha256", "large.onnx"]),
    ],
)
def test_what_is_wrong_is_named(
    stored: StoredFamily, spoil: Callable[[StoredFamily], Path], words: list[str]
) -> None:
    with pytest.raises(FamilyError) as caught:
        load_family(spoil(stored))
    for word in ["manifest.json", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ["manifest.json", "truncated"]),
        (b'{"task": 5}', ["manifest.json"]),
        (b"[]", ["manifest.json"]),
        (b" " * (9 << 20), ["larger than"]),
    ],
)
def test_broken_manifests(stored: StoredFamily, body: bytes, words: list[str]) -> None:
    (stored.folder / "manifest.json").write_bytes(body)
    with pytest.raises(FamilyError) as caught:
        FolderStore([stored.folder.parent]).families()
    for word in words:
        assert word in str(caught.value)


def test_unknown_fields_are_refused(stored: StoredFamily) -> None:
    manifest = msgspec.json.decode((stored.folder / "manifest.json").read_bytes(), type=dict[str, Any])
    manifest["variants"][1]["secret"] = 1
    (stored.folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(FamilyError, match=r"\$\.variants\[1\]\.secret"):
        load_family(stored.folder)


def test_links_do_not_lead_out(stored: StoredFamily, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    artefact = stored.folder / "large.onnx"
    artefact.rename(outside)
    artefact.symlink_to(outside)
    with pytest.raises(FamilyError, match="leads out"):
        load_family(stored.folder)


def test_folders_that_are_not(stored: StoredFamily, tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="no such folder"):
        FolderStore([tmp_path / "none"]).families()
    with pytest.raises(FamilyError, match="cannot be read"):
        load_family(tmp_path)
    (tmp_path / "empty").mkdir()
    assert FolderStore([tmp_path / "empty"]).families() == ()


def test_samples(stored: StoredFamily) -> None:
    arrays, labels = load_samples(stored)
    assert arrays["x"].shape == (20, 4)
    assert labels.shape == (20,)


def test_pixels_become_floats(stored: StoredFamily) -> None:
    np.savez(stored.folder / "samples.npz", x=np.full((2, 4), 255, np.uint8), label=np.zeros(2))
    arrays, _ = load_samples(stored)
    assert arrays["x"].dtype == np.float32
    assert arrays["x"].max() == 1.0
    raw = replace(stored.family, inputs=(TensorSpec("x", "UINT8", (-1, 4)),))
    assert load_samples(StoredFamily(raw, stored.folder))[0]["x"].dtype == np.uint8


def test_stored_integers_come_out_scaled(stored: StoredFamily) -> None:
    path = stored.folder / "samples.npz"
    whole = np.array([[100, -200, 300, 4], [1, 2, 3, 4]], np.int16)
    np.savez(path, x=whole, x_scale=np.float32(0.01), label=np.zeros(2))
    arrays, _ = load_samples(stored)
    assert arrays["x"].dtype == np.float32
    assert np.allclose(arrays["x"], whole * 0.01)
    np.savez(path, x=np.full((2, 4), 100, np.uint8), x_scale=np.float32(0.5), label=np.zeros(2))
    assert load_samples(stored)[0]["x"].max() == 50.0  # a scale of its own: no pixels
    windows = np.stack([whole, 10 * whole], axis=1)  # (2, 2 channels, 4)
    np.savez(path, x=windows, x_scale=np.array([0.1, 0.01], np.float32), label=np.zeros(2))
    arrays, _ = load_samples(stored)
    assert np.allclose(arrays["x"][:, 0], arrays["x"][:, 1])
    assert np.allclose(arrays["x"][:, 0], whole * 0.1)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (np.ones(3, np.float32), "has 3 factors"),
        (np.ones((2, 2), np.float32), "not one factor"),
        (np.int64(2), "not one factor"),
        (np.float32("nan"), "not one factor"),
    ],
)
def test_scales_that_do_not_fit(stored: StoredFamily, scale: Any, words: str) -> None:
    np.savez(stored.folder / "samples.npz", x=np.ones((2, 4), np.int16), x_scale=scale, label=np.zeros(2))
    with pytest.raises(FamilyError, match=rf"samples\.npz.*x_scale.*{words}"):
        load_samples(stored)


def test_a_family_may_ship_without_samples(stored: StoredFamily) -> None:
    (stored.folder / "samples.npz").unlink()
    assert load_family(stored.folder) == stored
    with pytest.raises(
        FamilyError, match=r"no such file: the family 'tiny' ships without samples .*none: CC0"
    ):
        load_samples(stored)


def test_a_dominated_variant_is_read_back(stored: StoredFamily) -> None:
    with_variant(stored, 0, dominated="small is better")
    family = load_family(stored.folder).family
    assert [v.kept for v in family.variants] == [False, True, True]
    assert [v.name for v in family.offered().variants] == ["large", "small", "staged"]  # the reference stays


def test_broken_samples(stored: StoredFamily) -> None:
    path = stored.folder / "samples.npz"
    np.savez(path, y=np.zeros(2), label=np.zeros(2))
    with pytest.raises(FamilyError, match="no array 'x'; it holds label, y"):
        load_samples(stored)
    np.savez(path, x=np.zeros(3), label=np.zeros(2))
    with pytest.raises(FamilyError, match="3 entries, not 2"):
        load_samples(stored)
    for body in (b"PK\x03\x04 broken", b"", b"hello"):
        path.write_bytes(body)
        with pytest.raises(FamilyError, match=r"samples\.npz"):
            load_samples(stored)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FamilyError, match=r"samples\.npz"):
        load_samples(stored)
    path.unlink()
    with pytest.raises(FamilyError, match=r"samples\.npz"):
        load_samples(stored)


def test_profiles_go_into_the_manifest(stored: StoredFamily) -> None:
    machine = Machine("cpu", 2, 1 << 30, "system", "runtime", "model")
    profiles = ProfileSet("tiny", machine, (Profile("large", "cpu:0", (1,), 0.1, (1.0,), 1, 1.0, 1),))
    path = stored.folder / "manifest.json"
    path.chmod(0o644)
    assert write_profiles(stored, profiles) == path
    assert load_family(stored.folder).family == replace(stored.family, profiles=profiles)
    assert path.stat().st_mode & 0o777 == 0o644
    assert len(list(stored.folder.glob("manifest.json*"))) == 1
    path.unlink()
    with pytest.raises(FamilyError, match="cannot be written"):
        write_profiles(stored, profiles)


def test_families_are_shipped() -> None:
    assert shipped_families().name == "families"
    assert isinstance(tiny_family(), Family)
