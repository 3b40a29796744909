"""The interactive page of a family: one file that needs no network, figures inside."""

import json
from pathlib import Path
from typing import Any

from trimtab.cli.family_show import Row, pareto, rows_of
from trimtab.cli.output import plain
from trimtab.domain.family import Family, Variant

TEMPLATE = Path(__file__).with_name("family_page.html")
PLACE = "__FIGURES__"


def page(family: Family) -> str:
    """Return the page of a family with its profiles, as HTML."""
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACE, embedded(figures(family)))


def embedded(value: object) -> str:
    """Return JSON that may stand in a ``<script>``: no ``<``, ``>`` or ``&`` ends or opens anything."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def figures(family: Family) -> dict[str, Any]:
    """Return what the page shows."""
    variants = {variant.name: variant for variant in family.variants}
    machine = family.profiles.machine if family.profiles else None
    rows = rows_of(family)
    return {
        "task": family.task,
        "title": family.title,
        "dataset": family.dataset.name,
        "samples": family.dataset.test_samples,
        "machine": f"{machine.cpu} ({machine.cores} cores), {machine.runtime}" if machine else "",
        "energy": machine.power_model if machine else "",
        "processors": list(dict.fromkeys(row.processor for row in rows if row.processor)),
        "span": pareto(family)["span_latency_ratio"],
        "points": [_point(row, variants[row.variant]) for row in rows],
    }


def _point(row: Row, variant: Variant) -> dict[str, Any]:
    low, high = row.accuracy_interval_frac
    counted = row.operation_energy
    return {
        "variant": variant.name,
        "rule": row.exit_rule,
        "staged": len(variant.stages) > 1,
        "processor": row.processor,
        "accuracy": 100 * row.accuracy_frac,
        "low": 100 * low,
        "high": 100 * high,
        "latency": None if row.latency_ns is None else row.latency_ns / 1e3,
        "p95": None if row.latency_ns_p95 is None else row.latency_ns_p95 / 1e3,
        "energy": None if row.energy_uj is None else row.energy_uj / 1e3,
        "operations": None if counted is None else counted.total_uj,
        "bytes": variant.artefact_bytes,
        "resident": row.resident_bytes,
        "macs": row.expected_macs,
        "peak": variant.peak_activation_bytes,
        "parameters": variant.parameters,
        "nonzero": variant.nonzero_parameters,
        "load": None if row.load_ns is None else row.load_ns / 1e6,
        "precision": variant.precision,
        "made": " + ".join(variant.transforms) or "training",
        "note": variant.note,
        "dominated": variant.dominated,
    }
