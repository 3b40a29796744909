"""docs/survey.md holds what benchmarks/survey.py generates, of the artefacts that ship."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import survey
import survey_page
from survey_page import GROUPS, METHODS, Method, Row, TaskResult

import families
from families import Shipped
from trimtab_models.errors import FoundryError
from trimtab_models.family import read_manifest, read_samples

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "survey.md"
ACCURACY_FRAC = 0.003  # other processors round otherwise


def row(method: str, **known: Any) -> Row:
    plain: dict[str, Any] = {
        "variant": f"plain-{method}" if method else "plain", "sha256": ("0",), "accuracy_frac": 0.9,
        "accuracy_interval_frac": (0.88, 0.92), "parameters": 1000, "nonzero_parameters": 1000,
        "artefact_bytes": 4000, "peak_feature_bytes": 400, "macs": 9000, "needed_macs": 9000, "hash_additions": 0,
        "latency_us_p50": 10.0, "latency_ratio": 1.0, "energy_45nm_uj": 1.5, "energy_uj": 40.0,
        "energy_source": "assumed",
    }  # fmt: skip
    return Row(method, **(plain | known))


def result(*rows: Row, task: str = "digits") -> TaskResult:
    machine = {"cpu": "a CPU", "system": "Linux", "runtime": "onnxruntime", "power_model": "4 W"}
    return TaskResult(task, "Digits", "MNIST", 1000, 10, machine, rows)


@pytest.fixture(scope="module")
def recorded() -> list[TaskResult]:
    assert DOCUMENT.exists(), "not generated yet: python benchmarks/survey.py --write docs/survey.md"
    return survey.read(DOCUMENT)


def test_the_document_is_what_the_figures_generate(recorded: list[TaskResult]) -> None:
    assert DOCUMENT.read_text() == survey_page.markdown(recorded)


def test_every_method_is_there_on_every_task(recorded: list[TaskResult]) -> None:
    wanted = ["", *(method.suffix for method in METHODS)]
    assert {r.task: [row.method for row in r.rows] for r in recorded} == dict.fromkeys(survey.TASKS, wanted)


def test_the_figures_are_of_the_artefacts_that_ship(recorded: list[TaskResult]) -> None:
    for one in recorded:
        family = read_manifest(families.FAMILIES / one.task)
        assert one.test_samples == family.dataset.test_samples
        for row in one.rows:
            variant = family.variant(row.variant)
            assert row.sha256 == tuple(stage.sha256 for stage in variant.stages), f"{row.variant} was rebuilt"
            assert row.accuracy_frac == pytest.approx(variant.accuracy_frac, abs=ACCURACY_FRAC)
            assert (row.artefact_bytes, row.macs) == (variant.artefact_bytes, variant.macs)
            assert row.nonzero_parameters == variant.nonzero_parameters


def test_findings_divide_the_base_by_each_method() -> None:
    found = survey_page.findings(
        result(
            row("", latency_us_p50=10.0),
            row("svd", latency_ratio=0.5, nonzero_parameters=100),
            row("deep", latency_ratio=0.9),
            row("tucker", nonzero_parameters=900, latency_ratio=0.3),
            row("fire", nonzero_parameters=10, latency_ratio=0.1),
        )
    )
    latency, size = found
    assert latency.factors == {"svd": 2.0, "deep": 1.111}
    assert (latency.holds, latency.exceptions) == (False, ("svd",))
    assert size.factors == {"tucker": 1.111}
    assert size.holds


def test_ten_methods_in_three_groups() -> None:
    assert {name: len(group) for name, group in GROUPS.items()} == {"weight": 4, "convolution": 4, "layer": 2}


def test_writing_keeps_what_other_tasks_have(tmp_path: Path) -> None:
    path = tmp_path / "survey.md"
    old, fresh = row("", macs=1), row("", macs=2)
    survey.write(path, [result(old), result(old, task="activity")])
    survey.write(path, survey.merged([result(fresh)], survey.read(path)))
    kept = survey.read(path)
    assert [(r.task, r.rows[0].macs) for r in kept] == [("digits", 2), ("activity", 1)]
    assert path.read_text() == survey_page.markdown(kept)
    assert "| `plain` | 90.00 (88.00-92.00) | 1,000 | 1,000 | 4,000 | 400 | 2 |" in path.read_text()


def test_an_unknown_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    path.write_text(json.dumps({"format_version": 2, "tasks": []}))
    with pytest.raises(FoundryError, match="format_version is 2, not 1"):
        survey_page.from_json(path)


@pytest.fixture(scope="module")
def fashion() -> Shipped:
    folder = families.FAMILIES / "fashion"
    return Shipped(folder, read_manifest(folder), read_samples(folder / "samples.npz"), "image")


def test_measuring_a_shipped_family(fashion: Shipped) -> None:
    methods = (Method("int8", "weight", "", ""), Method("tiny", "layer", "", ""))
    base, int8, tiny = survey.survey(fashion, "student", methods, runs=5).rows
    assert (base.method, int8.variant, tiny.variant) == ("", "student-int8", "student-tiny")
    assert base.latency_ratio == 1.0
    assert tiny.latency_ratio == pytest.approx(tiny.latency_us_p50 / base.latency_us_p50, abs=0.01)
    student = fashion.family.variant("student")
    assert (base.parameters, base.macs) == (student.parameters, student.macs)
    session = families.opened(fashion.folder / "student.onnx", "onnx")
    answers = session.run(None, {"image": fashion.test.tensors()})[0].argmax(axis=1)
    assert base.accuracy_frac == pytest.approx(np.mean(answers == fashion.test.labels), abs=0.003)


def test_missing_variants_are_named(fashion: Shipped) -> None:
    with pytest.raises(FoundryError, match=r"no resnet-svd, resnet-fire; build it: trimtab family build"):
        survey.survey(fashion, "resnet", (METHODS[0], METHODS[8]), runs=1)


def test_a_missing_family_or_test_set_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["survey.py", "--families", str(tmp_path), "--tasks", "digits"])
    assert families.reported(survey.main) == 1
    assert "trimtab family build digits" in capsys.readouterr().err
    folder = tmp_path / "digits"
    folder.mkdir()
    definition = (families.FAMILIES / "fashion" / "family.yaml").read_text()
    (folder / "family.yaml").write_text(definition.replace("name: fashion_mnist", "name: mnist"))
    (folder / "manifest.json").write_bytes(empty_manifest())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TRIMTAB_DATA", raising=False)
    assert families.reported(survey.main) == 1
    assert "trimtab data fetch mnist" in capsys.readouterr().err


def empty_manifest() -> bytes:
    import msgspec

    family = read_manifest(families.FAMILIES / "fashion")
    return msgspec.json.encode(replace(family, task="digits", variants=()))
