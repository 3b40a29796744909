"""What ``trimtab family show`` tells: one set of figures, as a table, as JSON and for the page."""

from dataclasses import dataclass, replace
from typing import Any

import click

from trimtab.cli.output import plain, table
from trimtab.domain.accuracy import wilson_interval
from trimtab.domain.family import ExitRule, Family, Profile, ProfileSet, Variant, expected_cost
from trimtab.domain.operation_energy import OperationEnergy, operation_energy


@dataclass(frozen=True, slots=True)
class Row:
    """One variant under one exit rule, and on one processor if it was profiled there.

    ``latency_ns`` and ``energy_uj`` are what a sample takes on average: medians of the stages, weighted by
    who reaches them. ``latency_ns_p95`` is that of running all stages. ``fronts`` names the costs in whose
    trade-off with accuracy nothing is better on this processor.
    """

    variant: str
    exit_rule: str
    processor: str | None
    accuracy_frac: float
    accuracy_interval_frac: tuple[float, float]
    expected_macs: float
    operation_energy: OperationEnergy | None
    latency_ns: float | None = None
    latency_ns_p95: int | None = None
    energy_uj: float | None = None
    load_ns: int | None = None
    resident_bytes: int | None = None
    fronts: tuple[str, ...] = ()


def shown(family: Family, profiles: ProfileSet | None) -> Family:
    """Return the family with these profiles and with who is dominated by them."""
    from trimtab_models.choose import mark_dominated

    return mark_dominated(replace(family, profiles=profiles)) if profiles else family


def rows_of(family: Family) -> list[Row]:
    """Return all rows of a family, by processor; without profiles one per variant and exit rule."""
    profiles = family.profiles.profiles if family.profiles else ()
    variants = {variant.name: variant for variant in family.variants}
    measured = [(variants[p.variant], p) for p in profiles if p.variant in variants]
    if not measured:
        return [_row(family, v, rule, None, ()) for v in family.variants for rule in v.exit_rules]
    fronts = _fronts(family)
    return [
        _row(family, variant, rule, profile, fronts.get((variant.name, rule.name, profile.processor), ()))
        for variant, profile in measured
        if len(profile.stage_latency_ns) == len(variant.stages)
        for rule in variant.exit_rules
    ]


def _fronts(family: Family) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """Return by (variant, exit rule, processor) the costs on whose front a point is."""
    from trimtab_models.choose import COSTS, by_processor, front, points

    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for some in by_processor(points(family)).values():
        for name, cost in COSTS.items():
            for point in front(some, cost):
                key = (point.variant, point.exit_rule, point.processor)
                found[key] = (*found.get(key, ()), name)
    return found


def _row(
    family: Family, variant: Variant, rule: ExitRule, profile: Profile | None, fronts: tuple[str, ...]
) -> Row:
    accuracy = rule.accuracy_frac[-1]
    row = Row(
        variant=variant.name,
        exit_rule=rule.name,
        processor=None,
        accuracy_frac=accuracy,
        accuracy_interval_frac=wilson_interval(accuracy, family.dataset.test_samples),
        expected_macs=variant.expected_macs(rule),
        operation_energy=operation_energy(variant, rule),
    )
    if profile is None:
        return row
    return replace(
        row,
        processor=profile.processor,
        latency_ns=expected_cost(rule, profile.stage_latency_ns),
        latency_ns_p95=profile.latency_ns_p95,
        energy_uj=expected_cost(rule, profile.stage_energy_uj),
        load_ns=profile.load_ns,
        resident_bytes=profile.resident_bytes,
        fronts=fronts,
    )


def pareto(family: Family) -> dict[str, Any]:
    """Return the fronts of accuracy against latency by processor, their sizes and how far they span."""
    from trimtab_models.choose import COSTS, by_processor, front, nearly_as_good, points, span

    samples = family.dataset.test_samples
    everyone = by_processor(points(family))
    fronts = {name: front(some, COSTS["latency"]) for name, some in everyone.items()}

    def described(point: Any, along: Any) -> dict[str, Any]:
        rival = nearly_as_good(point, along, samples)
        close = f"{rival.variant} ({rival.exit_rule})" if rival else ""
        return {
            "variant": point.variant,
            "exit_rule": point.exit_rule,
            "accuracy_frac": point.accuracy_frac,
            "latency_ns": point.latency_ns,
            "within_noise_of": close,
        }

    return {
        "pareto": {name: [described(point, some) for point in some] for name, some in fronts.items()},
        "pareto_points": {name: len(some) for name, some in fronts.items()},
        "span_latency_ratio": {name: span(some) for name, some in fronts.items()},
        "span_latency_ratio_of_all": {name: span(some) for name, some in everyone.items()},
    }


def as_json(family: Family) -> dict[str, Any]:
    """Return everything that is known about a family, ready for JSON."""
    told = plain(family)
    assert isinstance(told, dict)
    for entry, variant in zip(told["variants"], family.variants, strict=True):
        interval = wilson_interval(variant.accuracy_frac, family.dataset.test_samples)
        entry |= {
            "accuracy_interval_frac": interval,
            "artefact_bytes": variant.artefact_bytes,
            "macs": variant.macs,
            "nonzero_macs": variant.nonzero_macs,
            "peak_activation_bytes": variant.peak_activation_bytes,
            "kept": variant.kept,
        }
    return {**told, "rows": plain(rows_of(family)), **pareto(family)}


def print_family(family: Family) -> None:
    """Print a family's variants, their profiles, fronts, and why variants are dominated."""
    data = family.dataset
    click.echo(f"{family.title}: {data.name}, accuracy on {grouped(data.test_samples)} test samples with its 95 % confidence interval\n")  # fmt: skip
    table(
        ("variant", "accuracy %", "parameters", "nonzero", "bytes", "MACs", "peak feature bytes", "precision",
         "made by"),
        [
            (v.name, _accuracy(v.accuracy_frac, wilson_interval(v.accuracy_frac, data.test_samples)),
             grouped(v.parameters), grouped(v.nonzero_parameters), grouped(v.artefact_bytes), grouped(v.macs),
             grouped(v.peak_activation_bytes), v.precision, " + ".join(v.transforms) or "training")
            for v in family.variants
        ],
    )  # fmt: skip
    _print_exits(family)
    click.echo()
    if family.profiles is None:
        click.echo("no profiles yet: run `trimtab profile`")
        return
    _print_profiles(family)
    _print_dominated(family)


def _print_exits(family: Family) -> None:
    rows = [
        (v.name, r.name, f"{r.threshold:.3f}", " / ".join(f"{s:.0%}" for s in r.share_frac),
         " / ".join(f"{a:.2%}" for a in r.accuracy_frac), grouped(round(v.expected_macs(r))))
        for v in family.variants if len(v.stages) > 1 for r in v.exit_rules
    ]  # fmt: skip
    if rows:
        click.echo()
        table(
            ("variant", "exit rule", "threshold", "leave at exit", "accuracy when cut at exit", "mean MACs"),
            rows,
        )


def _print_profiles(family: Family) -> None:
    assert family.profiles is not None
    machine = family.profiles.machine
    click.echo(f"{machine.cpu} ({machine.cores} cores), {machine.runtime}")
    click.echo(f"energy: {machine.power_model}")
    click.echo("45 nm: energy of operations and memory accesses by Horowitz (ISSCC 2014), an estimate")
    several = pareto(family)
    by_name: dict[str, list[Row]] = {}
    for row in rows_of(family):
        by_name.setdefault(row.processor or "", []).append(row)
    for name, rows in by_name.items():
        count, ratio = several["pareto_points"].get(name, 0), several["span_latency_ratio"].get(name, 1.0)
        click.echo(f"\n{name}: {count} points on the front of accuracy and latency, which spans {ratio:.1f}x latency")  # fmt: skip
        table(
            ("variant", "exit rule", "accuracy %", "p50 us", "p95 us", "mJ", "45 nm uJ", "load ms", "MiB",
             "on the front of"),
            [_cells(row) for row in rows],
        )  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    counted = row.operation_energy
    return (
        row.variant,
        row.exit_rule,
        _accuracy(row.accuracy_frac, row.accuracy_interval_frac),
        f"{(row.latency_ns or 0) / 1e3:.1f}",
        f"{(row.latency_ns_p95 or 0) / 1e3:.1f}",
        f"{(row.energy_uj or 0) / 1e3:.4f}",
        "-" if counted is None else f"{counted.total_uj:.1f}",
        f"{(row.load_ns or 0) / 1e6:.1f}",
        f"{(row.resident_bytes or 0) / (1 << 20):.2f}",
        ", ".join(row.fronts) or "-",
    )


def _print_dominated(family: Family) -> None:
    lost = [variant for variant in family.variants if not variant.kept]
    if lost:
        click.echo("\ndominated: in every trade-off another variant is at least as good")
    for variant in lost:
        click.echo(f"  {variant.name}: {variant.dominated}")


def _accuracy(accuracy_frac: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * accuracy_frac:.2f} ({100 * low:.2f}-{100 * high:.2f})"


def grouped(count: int) -> str:
    """Return a number with a space between groups of three digits."""
    return f"{count:,}".replace(",", " ")
