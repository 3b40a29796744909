"""Ten compression methods on four tasks in six metrics, after the survey by Nan, Liu, Du and Liu (2019).

Run ``python benchmarks/survey.py [--json] [--write docs/survey.md] [--tasks digits keywords]``. For each task the
plain network and what each method made of it are read from the family's artefacts: the whole test set is
answered again, and all variants are timed in turns in one run, batch 1, one thread. ``--write`` generates the
document and keeps the figures beside it (``docs/survey.json``), those of tasks not measured now as they were;
``--recorded`` writes or prints the document from such a file without measuring.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import survey_page
from survey_page import METHODS, Method, Row, TaskResult

import families
from families import Shipped
from trimtab.adapters.energy import Calibrating, choose_meter
from trimtab.adapters.onnx_runtime import OnnxRuntime
from trimtab.domain.accuracy import wilson_interval
from trimtab.domain.family import Variant
from trimtab.domain.operation_energy import operation_energy
from trimtab.domain.processor import Processor
from trimtab.ports import EnergyMeter
from trimtab.profiling import describe_machine
from trimtab_models.errors import FoundryError

TASKS: Final = {"digits": "lenet5", "cifar10": "plain", "keywords": "plain", "activity": "plain"}
"""The variant that the ten methods start from, by task."""
RUNS: Final = 1000
PROCESSOR: Final = Processor("cpu:0", "cpu", (0,), 1)


def survey(shipped: Shipped, base: str, methods: Sequence[Method], runs: int) -> TaskResult:
    """Measure the variant ``base`` and what ``methods`` made of it; raise ``FoundryError`` if one is missing."""
    names = [base, *(f"{base}-{method.suffix}" for method in methods)]
    if missing := [name for name in names if not shipped.has(name)]:
        raise FoundryError(f"{shipped.folder}: the family has no {', '.join(missing)}; build it: trimtab family build {shipped.family.task}")  # fmt: skip
    chains = [shipped.open(name) for name in names]
    accuracies = [float(shipped.right(chain).mean()) for chain in chains]
    inputs = shipped.test.tensors()
    times = families.latencies_ns(chains, shipped.input_name, inputs, runs)
    p50_ns = [float(np.median(found)) for found in times]
    meter = choose_meter()
    if isinstance(meter, Calibrating):
        meter.calibrate(PROCESSOR, lambda: chains[0].run({shipped.input_name: inputs[:1]}))
    rows = tuple(
        _row(shipped, name, method, accuracy, (latency_ns, p50_ns[0]), meter)
        for name, method, accuracy, latency_ns in zip(
            names, [None, *methods], accuracies, p50_ns, strict=True
        )
    )
    machine = describe_machine(OnnxRuntime().description.partition(",")[0], meter)
    family = shipped.family
    return TaskResult(
        family.task, family.title, family.dataset.name, len(shipped.test), runs, asdict(machine), rows
    )


def _row(
    shipped: Shipped,
    name: str,
    method: Method | None,
    accuracy_frac: float,
    latency_ns: tuple[float, float],
    meter: EnergyMeter,
) -> Row:
    """Return one row; ``latency_ns`` is that of the variant and that of the base."""
    variant = shipped.family.variant(name)
    own_ns, base_ns = latency_ns
    needed_macs, hash_additions = _needed(shipped, variant)
    counted = operation_energy(variant, variant.exit_rules[-1])
    low, high = wilson_interval(accuracy_frac, len(shipped.test))
    return Row(
        method=method.suffix if method else "",
        variant=name,
        sha256=tuple(stage.sha256 for stage in variant.stages),
        accuracy_frac=round(accuracy_frac, 6),
        accuracy_interval_frac=(round(low, 6), round(high, 6)),
        parameters=variant.parameters,
        nonzero_parameters=variant.nonzero_parameters,
        artefact_bytes=variant.artefact_bytes,
        peak_feature_bytes=variant.peak_activation_bytes,
        macs=variant.macs,
        needed_macs=needed_macs,
        hash_additions=hash_additions,
        latency_us_p50=round(own_ns / 1e3, 2),
        latency_ratio=round(own_ns / base_ns, 4),
        energy_45nm_uj=round(counted.total_uj, 4) if counted else None,
        energy_uj=round(float(meter.run_energy(PROCESSOR, round(own_ns)).energy_uj), 3),
        energy_source=str(meter.source.value),
    )


def _needed(shipped: Shipped, variant: Variant) -> tuple[int | None, int]:
    """Return (multiplications that are needed, additions of hashing) of one sample; (None, 0) if uncounted."""
    if "hashed_activation" not in variant.transforms:
        return variant.nonzero_macs or None, 0
    try:
        import hashed_macs
    except ImportError:  # the onnx package is not there
        return None, 0
    found = hashed_macs.needed(shipped, variant.name)
    return round(found.macs), round(found.hash_additions)


def measure(folder: Path, tasks: Sequence[str], runs: int, limit: int) -> list[TaskResult]:
    """Measure all methods on each task; raise ``FoundryError`` naming what is missing."""
    return [survey(families.load(folder / task, limit), TASKS[task], METHODS, runs) for task in tasks]


def merged(fresh: Sequence[TaskResult], recorded: Sequence[TaskResult]) -> list[TaskResult]:
    """Return the fresh results and those recorded of other tasks, in the survey's order."""
    by_task = {result.task: result for result in (*recorded, *fresh)}
    return [by_task[task] for task in TASKS if task in by_task]


def write(path: Path, results: Sequence[TaskResult]) -> None:
    """Write the document to ``path`` and its figures beside it, as ``.json``."""
    path.with_suffix(".json").write_text(json.dumps(survey_page.as_json(results), indent=1) + "\n")
    path.write_text(survey_page.markdown(results))


def read(path: Path) -> list[TaskResult]:
    """Return the figures recorded beside a document, none if there are none; raise ``FoundryError``."""
    recorded = path.with_suffix(".json")
    return survey_page.from_json(recorded) if recorded.exists() else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", type=Path, metavar="PATH", help="generate the document, figures beside it")
    parser.add_argument(
        "--recorded", type=Path, metavar="JSON", help="take figures from here; measure nothing"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--families", type=Path, default=families.FAMILIES)
    parser.add_argument("--runs", type=int, default=RUNS, help="timed runs per variant")
    parser.add_argument("--samples", type=int, default=0, help="only the first test samples; 0: all")
    found = parser.parse_args()
    if found.write and found.samples:
        parser.error("--write: the document holds figures of whole test sets, not of --samples")
    return found


def main() -> None:
    arguments = _arguments()
    if arguments.recorded:
        results = [r for r in survey_page.from_json(arguments.recorded) if r.task in arguments.tasks]
    else:
        results = measure(arguments.families, arguments.tasks, arguments.runs, arguments.samples)
    if arguments.json:
        print(json.dumps(survey_page.as_json(results), indent=1))
    else:
        print(survey_page.text(results))
    if arguments.write:
        uncounted = [row.variant for result in results for row in result.rows if row.needed_macs is None]
        if uncounted:
            raise FoundryError(f"{arguments.write}: needed MACs of {', '.join(uncounted)} were not counted; the onnx package does it")  # fmt: skip
        write(arguments.write, merged(results, read(arguments.write)))


if __name__ == "__main__":
    raise SystemExit(families.reported(main))
