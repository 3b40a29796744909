"""What a user sees when a build cannot start, and what is left when one is killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from trimtab.domain.family import Dataset, ExitRule, Family, Stage, Variant
from trimtab_models import DefinitionError, FoundryError, MissingBuildExtra, build_family
from trimtab_models.__main__ import main
from trimtab_models.family import check_artefacts, read_manifest
from trimtab_models.pipeline import require_extra
from trimtab_models.publish import BUILDING, named_files, publish, staging

FASHION = Path(__file__).parents[2] / "models" / "families" / "fashion"


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingBuildExtra, match=r"'no_such_package': pip install 'trimtab\[build\]'"):
        require_extra(["no_such_package"])


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(FoundryError, match="no variant 'vgg'; it has: resnet, "):
        build_family(FASHION, only=["vgg"])


def test_a_missing_definition_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot be read"):
        build_family(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(FoundryError, match=r"manifest\.json: cannot be read"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"task": 3}')
    with pytest.raises(FoundryError, match=r"manifest\.json: .*task"):
        read_manifest(tmp_path)


def test_the_command_line_reports_errors_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "family.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err.replace("\n", " ")


def make(folder: Path, *contents: tuple[str, bytes]) -> Family:
    """Write artefacts into ``folder`` and return the family that names them."""
    variants = []
    for name, content in contents:
        (folder / f"{name}.onnx").write_bytes(content)
        digest = sha256(content).hexdigest()
        stage = Stage(f"{name}.onnx", digest, len(content), ("x",), ("logits",), "logits", 1, 1)
        rule = ExitRule("full", 0.0, (1.0,), (0.5,))
        variants.append(Variant(name, (), (stage,), (rule,), 0.5, 1, 1, "fp32"))
    (folder / "samples.npz").write_bytes(b"samples of " + contents[0][1])
    data = Dataset("d", "l", "s", 1, 1)
    first = variants[0].name
    return Family("t", "T", (), (), ("a", "b"), tuple(variants), first, first, data)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {BUILDING}


def test_publishing_keeps_the_old_files_until_the_manifest_changed(tmp_path: Path) -> None:
    with staging(tmp_path) as staged:
        first = publish(make(staged, ("net", b"one"), ("tiny", b"same")), staged, tmp_path)
    assert files(tmp_path) == {"net.onnx", "tiny.onnx", "samples.npz", "manifest.json"}
    with staging(tmp_path) as staged:
        second = publish(make(staged, ("net", b"two"), ("tiny", b"same")), staged, tmp_path)
    renamed = f"net.{sha256(b'two').hexdigest()[:8]}.onnx"
    assert [variant.stages[0].artefact for variant in second.variants] == [renamed, "tiny.onnx"]
    assert files(tmp_path) == {*named_files(second), "manifest.json"}
    assert check_artefacts(second, tmp_path) == []
    assert check_artefacts(first, tmp_path) == [f"{tmp_path / 'net.onnx'}: missing"]


def test_what_a_killed_build_moved_but_never_named_goes(tmp_path: Path) -> None:
    for orphan in ("net.0.0123abcd.onnx", "net.onnx", "net.ttdc", "network.onnx", "net.txt"):
        (tmp_path / orphan).write_bytes(b"left")
    with staging(tmp_path) as staged:
        family = publish(make(staged, ("net", b"one")), staged, tmp_path)
    assert files(tmp_path) == {"net.onnx", "network.onnx", "net.txt", "samples.npz", "manifest.json"}
    assert check_artefacts(family, tmp_path) == []


def test_two_builds_of_one_family_do_not_meet(tmp_path: Path) -> None:
    with (
        staging(tmp_path),
        pytest.raises(FoundryError, match="another build is writing there"),
        staging(tmp_path),
    ):
        pass
    assert not (tmp_path / BUILDING).exists()


def test_a_variant_that_is_not_built_again_stays(tmp_path: Path) -> None:
    with staging(tmp_path) as staged:
        first = publish(make(staged, ("net", b"one"), ("tiny", b"old")), staged, tmp_path)
    with staging(tmp_path) as staged:
        family = make(staged, ("net", b"two"))
        both = replace(family, variants=(family.variants[0], first.variant("tiny")))
        assert check_artefacts(publish(both, staged, tmp_path), tmp_path) == []


DEFINITION = """\
format_version: 1
task: own
title: Blobs
seed: %d
last_resort: int8
dataset: {name: "blob_data:load", shipped_per_class: 2}
architecture: {import: {path: "blob_net:Net"}}
training: {epochs: 2, learning_rate: 0.05}
variants:
  - name: net
  - name: int8
    recipe: [quantize_int8: {calibration_samples: 8}]
"""
NET = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
"""
DATA = """
import numpy as np
def load():
    y = np.arange(60) % 2
    x = (np.random.default_rng(0).integers(0, 99, (60, 1, 4, 4)) + 100 * y[:, None, None, None]).astype(np.uint8)
    return (x, y), (x[:20], y[:20])
"""


@pytest.mark.build
def test_a_build_that_is_killed_leaves_the_old_family_whole_and_the_next_one_is(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torch_pruning")
    folder = tmp_path / "own"
    folder.mkdir()
    for name, text in (("family.yaml", DEFINITION % 1), ("blob_net.py", NET), ("blob_data.py", DATA)):
        (folder / name).write_text(text)
    paths = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "trimtab_models", str(folder)]
    environment = os.environ | paths | {"OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    assert start().wait() == 0
    old = read_manifest(folder)
    (folder / "family.yaml").write_text(DEFINITION % 2)
    process = start()
    staged = folder / BUILDING / "staged"
    until = time.monotonic() + 120
    while not list(staged.glob("*.onnx")) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)  # artefacts of the new family are being made
    assert process.wait() == -signal.SIGKILL
    assert read_manifest(folder) == old
    assert check_artefacts(old, folder) == []
    assert start().wait() == 0
    new = read_manifest(folder)
    assert new.variant("net").stages != old.variant("net").stages
    assert check_artefacts(new, folder) == []
    named = {*named_files(new), "manifest.json", "family.yaml", "blob_net.py", "blob_data.py"}
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == named
