"""An ONNX file in, a served family out: the real command and the real daemon."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from trimtab.adapters.family_store import load_family, load_samples, shipped_families
from trimtab.cli.main import main

pytest.importorskip("onnx")

FASHION = shipped_families() / "fashion"
PLAN = """\
variants:
  - name: int8
    recipe: [static_int8: {samples: 64}]
  - name: packed
    recipe: [zero_smallest: {zero_frac: 0.2}, share_weights: {bits: 7}]
  - name: ruined
    recipe: [zero_smallest: {zero_frac: 0.99}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the shipped reference as somebody else's ONNX file, samples, labels and a plan."""
    place = tmp_path_factory.mktemp("import")
    stored = load_family(FASHION)
    arrays, labels = load_samples(stored)
    (place / "their.onnx").write_bytes(
        (FASHION / stored.family.variant("resnet").stages[0].artefact).read_bytes()
    )
    np.savez(place / "samples.npz", image=arrays["image"], label=labels)
    np.savez(place / "unlabelled.npz", image=arrays["image"][:100])
    (place / "labels.txt").write_text("\n".join(stored.family.labels) + "\n")
    (place / "plan.yaml").write_text(PLAN)
    return place


def invoke(folder: Path, *more: object) -> Result:
    given = ("family", "import", folder / "their.onnx", "--recipe", folder / "plan.yaml", *more)
    return CliRunner().invoke(main, [str(a) for a in given])


def test_an_imported_family_is_served(folder: Path, make_daemon: Callable[..., Any]) -> None:
    out = folder / "families"
    result = invoke(
        folder, "--calibrate", folder / "samples.npz", "--labels", folder / "labels.txt", "--task", "clothes",
        "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["measure"] == "accuracy"
    assert [variant["name"] for variant in told["family"]["variants"]] == ["fp32", "int8", "packed"]
    assert [dropped["name"] for dropped in told["dropped"]] == ["ruined"]
    stored = load_family(out / "clothes")
    arrays, labels = load_samples(stored)
    daemon = make_daemon("--families", str(out)).start()
    with daemon.client() as client:
        for variant in ("fp32", "int8", "packed"):
            reply = client.infer("clothes", arrays["image"][:16], variant=variant, latency_budget_ms=5000)
            assert reply.variant == variant
            answered = np.asarray(reply.outputs["logits"]).argmax(axis=1)
            assert (answered == labels[:16]).mean() > 0.7
        assert client.infer("clothes", arrays["image"][:1], latency_budget_ms=1000).variant in {
            "fp32",
            "int8",
            "packed",
        }


def test_without_labels_the_table_says_agreement(folder: Path) -> None:
    result = invoke(
        folder, "--calibrate", folder / "unlabelled.npz", "--task", "c", "--out", folder / "unlabelled"
    )
    assert result.exit_code == 0, result.output
    assert "c: agreement with the original on 50 samples that calibration did not see" in result.stdout
    assert "accuracy" not in result.stdout
    assert "dropped ruined: loses" in result.stdout


def test_errors_are_one_line(folder: Path) -> None:
    result = invoke(folder, "--calibrate", folder / "plan.yaml", "--task", "c", "--out", folder / "none")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {folder}/plan.yaml: cannot be read as .npz")
    assert not (folder / "none").exists()
