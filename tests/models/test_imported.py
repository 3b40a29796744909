"""A user's own network, data and loop are built into a family; what is wrong with them is told with its place."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.errors import DefinitionError, FoundryError
from trimtab_models.family import check_artefacts, read_manifest
from trimtab_models.imported import data_digest, importable, load_splits, resolve, source_digest
from trimtab_models.recipe import parse_definition, place

NET = """
from own_layers import WIDTH
from torch import nn
class MyNet(nn.Module):
    def __init__(self, classes=3, **unused):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(24, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))
    def forward(self, x):
        return self.layers(x)
def not_a_network():
    return 3
class Pair(MyNet):
    def forward(self, x):
        return self.layers(x), x
constant = 7
"""
DATA = """
import numpy as np
def half(count, seed):
    labels = np.arange(count) % 3
    noise = np.random.default_rng(seed).standard_normal((count, 2, 12))
    noise[np.arange(count), :, labels] += 4
    return noise.astype(np.float32), labels
def load(train=90):
    return half(train, 1), half(60, 2)
"""
LOOP = """
import torch
def fit(network, splits, *, epochs=2, seed):
    x, y = torch.from_numpy(splits.train.tensors()), torch.from_numpy(splits.train.labels).long()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(epochs * 20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
def explode(network, splits):
    raise ArithmeticError('loss is infinite')
def replace(network, splits):
    return torch.nn.Linear(1, 1)
"""
DEFINITION = """\
format_version: 1
task: own
title: One's own
seed: 1
last_resort: int8
dataset: {name: "own_data:load", arguments: {train: 60}, validation_samples: 12, shipped_per_class: 2}
architecture:
  import:
    path: "own_net:MyNet"
    arguments: {classes: 3}
trainer:
  path: "own_loop:fit"
variants:
  - name: net
  - name: int8
    recipe: [quantize_int8: {calibration_samples: 8}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "own"
    place.mkdir()
    for name, text in (
        ("own_net", NET),
        ("own_data", DATA),
        ("own_loop", LOOP),
        ("own_layers", "WIDTH = 16\n"),
    ):
        (place / f"{name}.py").write_text(text)
    (place / "my.yaml").write_text(DEFINITION)
    yield place
    assert not [name for name in sys.modules if name.startswith("own_")]
    assert str(place.resolve()) not in sys.path


def build(folder: Path, *changes: tuple[str, str]) -> Any:
    pytest.importorskip("torch")
    pytest.importorskip("torch_pruning")
    from trimtab_models import build_family

    text = DEFINITION
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "my.yaml").write_text(text)
    return build_family(folder / "my.yaml")


@pytest.mark.build
def test_a_family_of_ones_own(folder: Path) -> None:
    family = build(folder)
    assert family == read_manifest(folder)
    assert check_artefacts(family, folder) == []
    assert family.variant("net").accuracy_frac > 0.9
    assert (family.inputs[0].name, family.inputs[0].shape) == ("input", (-1, 2, 12))
    assert (family.dataset.train_samples, family.dataset.test_samples) == (60, 60)
    assert family.dataset.licence == "not stated"
    assert not (folder / ".building").exists()


@pytest.mark.build
def test_edited_code_trains_again_and_unchanged_code_does_not(folder: Path) -> None:
    def networks() -> set[Path]:
        return set((folder.parent / "cache").rglob("*.pt"))

    first = build(folder)
    kept = networks()
    assert build(folder) == first
    assert networks() == kept
    (folder / "own_layers.py").write_text("WIDTH = 24\n")  # a module that the network's module imports
    assert build(folder).variant("net").parameters > first.variant("net").parameters
    assert len(networks()) == 2 * len(kept)
    build(folder, ("train: 60", "train: 66"))
    assert len(networks()) == 3 * len(kept)


@pytest.mark.build
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("own_net:MyNet", "no_net:MyNet", r"my\.yaml:9: architecture\.import\.path: no module 'no_net' beside"),
        ("own_net:MyNet", "own_net:Net", r"my\.yaml:9: .*module 'own_net' \(.*own_net\.py\) has no 'Net'"),
        ("own_net:MyNet", "own_net:constant", r"my\.yaml:9: .*own_net:constant is int, which cannot be called"),
        ("MyNet\"\n    arguments: {classes: 3}", "not_a_network\"", r"my\.yaml:9: .*returned int, not a torch\.nn\.Module"),
        ("classes: 3", "classes: 4", r"my\.yaml:9: .*float32 of shape \[2, 4\]; expected float logits \[2, 3\]"),
        ("own_net:MyNet", "own_net:Pair", r"my\.yaml:9: .*answers with tuple; expected one tensor"),
        ("{classes: 3}", "{classes: many}", r"my\.yaml:9: .*own_net:MyNet failed: TypeError: .*\(\w+\.py:\d+\)"),
        ("own_loop:fit", "own_loop:explode", r"my\.yaml:12: trainer\.path: own_loop:explode failed: ArithmeticError: loss is infinite \(own_loop\.py:11\)"),
        ("own_loop:fit", "own_loop:replace", r"my\.yaml:12: trainer\.path: own_loop:replace: fails on an input"),
        ("train: 60", "size: 60", r"my\.yaml:6: dataset\.name: own_data:load failed: TypeError"),
    ],
)  # fmt: skip
def test_a_refusal_names_file_line_field_and_reason(folder: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(DefinitionError, match=expected):
        build(folder, (old, new))
    assert not (folder / "manifest.json").exists()


@pytest.mark.build
def test_a_step_that_fails_is_named(folder: Path) -> None:
    step = "quantize_int8: {calibration_samples: 8}"
    exits = "early_exit: {loss_weights: [1.0], thresholds: [0.5], training: {epochs: 1}}"
    expected = r"variant int8: step 1 \(early_exit\): .*MyNet cannot be cut"
    with pytest.raises(FoundryError, match=expected):
        build(folder, (step, exits))
    assert not list(folder.glob("*.onnx"))


def test_a_broken_module_is_told_with_its_line(folder: Path) -> None:
    (folder / "own_data.py").write_text("\n\nimport no_such_thing\n")
    with importable(folder), pytest.raises(DefinitionError, match=r"'own_data' needs 'no_such_thing'"):
        resolve("own_data:load", "x.yaml:1: dataset.name")
    (folder / "own_data.py").write_text("\n\n1 / 0\n")
    with importable(folder), pytest.raises(DefinitionError, match=r"ZeroDivisionError.*\(own_data\.py:3\)"):
        resolve("own_data:load", "x.yaml:1: dataset.name")


def test_the_digest_follows_every_module_of_the_folder(folder: Path) -> None:
    def digest() -> str:
        with importable(folder):
            resolve("own_data:load", "here")
            return source_digest(folder)

    first = digest()
    assert digest() == first
    (folder / "own_loop.py").write_text(LOOP + "# not imported, so it changes nothing\n")
    assert digest() == first
    (folder / "own_data.py").write_text(DATA + "# imported\n")
    assert digest() != first


def load(folder: Path, body: str) -> Splits:
    """Return what a data function with this body is taken for."""
    (folder / "own_data.py").write_text(f"import numpy as np\ndef load():\n    return {body}\n")
    with importable(folder):
        return load_splits("own_data:load", {}, 10, 1, "my.yaml:6: dataset.name")


PAIR = "(np.zeros((20, 1, 4, 4), np.uint8), np.arange(20) % 2)"


def test_pairs_and_mappings_become_splits(folder: Path) -> None:
    splits = load(folder, f"({PAIR}, {PAIR})")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 4, 20)  # a fifth held out
    assert splits.labels == ("0", "1")
    assert splits.train.scale == 1 / 255
    splits = load(folder, f"({PAIR}, {PAIR}, {PAIR})")
    assert (len(splits.train), len(splits.validation)) == (20, 20)
    splits = load(folder, f"dict(train={PAIR}, test={PAIR}, labels='abc', input_name='image')")
    assert (splits.labels, splits.input_name) == (("a", "b", "c"), "image")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("3", r"returned int; expected Splits, \(train, test\)"),
        (f"dict(train={PAIR}, tset={PAIR})", r"returned a mapping of train, tset; known: train, validation"),
        (f"({PAIR}, 3)", r"own_data:load: test: expected a pair \(inputs, labels\), got int"),
        (f"({PAIR}, ({PAIR}[0][:, :, :2], {PAIR}[1]))", r"inputs differ in shape"),
        (f"(({PAIR}[0], {PAIR}[1][:5]), {PAIR})", r"train: labels are int64 of shape \(5,\); expected whole numbers \(20,\)"),
        (f"(({PAIR}[0], {PAIR}[1] + 300), {PAIR})", r"train: labels go from 300 to 301; at most 0 to 255"),
        (f"(({PAIR}[0].astype(float), {PAIR}[1]), {PAIR})", r"images are float64; give uint8 pixels"),
        (f"dict(train={PAIR}, test={PAIR}, labels=['one'])", r"labels go up to 1, but there are 1 names"),
        ("((np.full((9, 3), np.nan), np.arange(9)), 3)", r"train: inputs hold values that are not finite"),
    ],
)  # fmt: skip
def test_data_of_the_wrong_form_is_refused(folder: Path, body: str, expected: str) -> None:
    with pytest.raises(
        DefinitionError,
        match=r"my\.yaml:6: dataset\.name: own_data:load: .*" + expected.removeprefix("own_data:load: "),
    ):
        load(folder, body)


def test_data_digests_tell_data_apart() -> None:
    def splits(value: int) -> Splits:
        part = Samples(np.full((4, 2), value, np.int16), np.zeros(4, np.uint8), np.arange(4), 1.0)
        return Splits(part, part, part, ("a", "b"), (0.0,), (1.0,))

    assert data_digest(splits(1)) == data_digest(splits(1)) != data_digest(splits(2))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("own_net:MyNet", "own_net.MyNet", r"my\.yaml:9: architecture\.import: 'own_net\.MyNet' is no import path"),
        ("own_data:load", "own data:load", r"my\.yaml:6: dataset: 'own data:load' is no import path"),
        ("own_data:load", "fashion_mnist", r"my\.yaml:6: dataset: arguments are for imported datasets"),
        ("trainer:\n  path: \"own_loop:fit\"\n", "", r"training or trainer: exactly one of them"),
        ("seed: 1", "seed: 1\ntraining: {epochs: 1}", r"training or trainer: exactly one of them"),
    ],
)  # fmt: skip
def test_definitions_are_checked_before_anything_is_imported(old: str, new: str, expected: str) -> None:
    assert old in DEFINITION
    with pytest.raises(DefinitionError, match=expected):
        parse_definition(DEFINITION.replace(old, new), "my.yaml")


def test_places_in_a_definition(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(DEFINITION)
    assert place(file, "architecture", "import", "path") == f"{file}:9: architecture.import.path"
    assert re.search(r":11: trainer\.nothing$", place(file, "trainer", "nothing"))
