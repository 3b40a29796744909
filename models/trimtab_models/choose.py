"""Which variants are worth keeping: Pareto fronts of accuracy against each cost, and why the others lost.

A *point* is one variant under one exit rule on one processor. In a trade-off, accuracy against one cost, a
point is on the *front* when no other point of that processor is at least as accurate and costs at most as
much (of two equal points the first counts). The costs are latency, energy, bytes on disk and bytes in memory.
A variant is *dominated* when none of its points is on any front of any processor. Multiply-accumulates are no
cost: they do not predict latency.

Fronts go by the measured figures as they are. Where an accuracy is ahead by less than chance explains, the
reason says "within noise".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from trimtab.domain.accuracy import within_noise
from trimtab.domain.family import ExitRule, Family, Profile, ProfileSet, Variant, expected_cost


@dataclass(frozen=True, slots=True)
class Point:
    """One variant under one exit rule on one processor: its accuracy and expected costs of one sample."""

    variant: str
    exit_rule: str
    processor: str
    accuracy_frac: float
    latency_ns: float
    energy_uj: float
    artefact_bytes: int
    resident_bytes: int


Cost = Callable[[Point], float]

COSTS: Final[Mapping[str, Cost]] = {
    "latency": lambda point: point.latency_ns,
    "energy": lambda point: point.energy_uj,
    "bytes on disk": lambda point: point.artefact_bytes,
    "bytes in memory": lambda point: point.resident_bytes,
}

_LESS: Final = {
    "latency": "{:.1f}x faster",
    "energy": "{:.1f}x less energy",
    "bytes on disk": "{:.1f}x smaller",
    "bytes in memory": "{:.1f}x less memory",
}
_EQUAL: Final = 1.05
"""Ratios below this are told as "as fast", "as small"."""


def points(family: Family, profiles: ProfileSet | None = None) -> tuple[Point, ...]:
    """Return all points of ``profiles``, by default the family's own, in the family's order of variants."""
    measured = profiles or family.profiles
    known: dict[str, list[Profile]] = {}
    for profile in measured.profiles if measured else ():
        known.setdefault(profile.variant, []).append(profile)
    return tuple(
        _point(variant, rule, profile)
        for variant in family.variants
        for profile in known.get(variant.name, ())
        if len(profile.stage_latency_ns) == len(variant.stages)
        for rule in variant.exit_rules
    )


def _point(variant: Variant, rule: ExitRule, profile: Profile) -> Point:
    return Point(
        variant=variant.name,
        exit_rule=rule.name,
        processor=profile.processor,
        accuracy_frac=rule.accuracy_frac[-1],
        latency_ns=expected_cost(rule, profile.stage_latency_ns),
        energy_uj=expected_cost(rule, profile.stage_energy_uj),
        artefact_bytes=variant.artefact_bytes,
        resident_bytes=profile.resident_bytes,
    )


def front(of: Iterable[Point], cost: Cost) -> tuple[Point, ...]:
    """Return the points that no other one matches in accuracy at the same or a lower cost, cheapest first."""
    kept: list[Point] = []
    for point in sorted(of, key=lambda p: (cost(p), -p.accuracy_frac)):
        if not kept or point.accuracy_frac > kept[-1].accuracy_frac:
            kept.append(point)
    return tuple(kept)


def by_processor(of: Iterable[Point]) -> dict[str, tuple[Point, ...]]:
    """Return points by processor, in the order in which processors first occur."""
    found: dict[str, list[Point]] = {}
    for point in of:
        found.setdefault(point.processor, []).append(point)
    return {name: tuple(some) for name, some in found.items()}


def span(of: Sequence[Point]) -> float:
    """Return how many times longer the slowest of these points takes than the fastest; 1 for none."""
    latencies = [point.latency_ns for point in of]
    return max(latencies) / max(1.0, min(latencies)) if latencies else 1.0


def nearly_as_good(point: Point, along: Sequence[Point], samples: int) -> Point | None:
    """Return the fastest point whose accuracy is not surely lower than that of ``point``, if one is faster."""
    faster = [p for p in along if p.latency_ns < point.latency_ns]
    alike = [p for p in faster if within_noise(p.accuracy_frac, point.accuracy_frac, samples)]
    return min(alike, key=lambda p: p.latency_ns, default=None)


def mark_dominated(family: Family, profiles: ProfileSet | None = None) -> Family:
    """Return the family with ``dominated`` of every variant set anew from ``profiles`` (default: its own).

    A variant that was not measured on every processor of ``profiles`` stays: nobody knows what it costs.
    """
    found = by_processor(points(family, profiles))
    lucky = {
        point.variant for some in found.values() for cost in COSTS.values() for point in front(some, cost)
    }
    samples = family.dataset.test_samples

    def marked(variant: Variant) -> Variant:
        measured = all(any(p.variant == variant.name for p in some) for some in found.values())
        loses = measured and found and variant.name not in lucky
        return replace(variant, dominated=_reason(variant.name, found, samples) if loses else "")

    return replace(family, variants=tuple(marked(variant) for variant in family.variants))


def _reason(variant: str, found: Mapping[str, Sequence[Point]], samples: int) -> str:
    """Return by whom and by how much a dominated variant loses, on the first processor.

    Every exit rule has a sentence of its own; where no single variant wins all trade-offs, several are named.
    """
    processor, everyone = next(iter(found.items()))
    own = [point for point in everyone if point.variant == variant]
    others = [point for point in everyone if point.variant != variant]
    sentences = [_sentence(point, others, samples) for point in own]
    if len(own) > 1:
        sentences = [f"{p.exit_rule}: {text}" for p, text in zip(own, sentences, strict=True)]
    return f"{'; '.join(sentences)} (on {processor})"


def _sentence(point: Point, others: Sequence[Point], samples: int) -> str:
    """Name few winners that together cover all trade-offs, the one that covers most first.

    There are such winners: what beats a point of a variant that is on no front is itself on the front.
    """
    beats = {p: {name for name, cost in COSTS.items() if _beats(p, point, cost)} for p in others}
    open_costs = set(COSTS)
    parts = []
    while open_costs:
        winner = max(others, key=lambda p: (len(beats[p] & open_costs), -p.latency_ns))
        told = [name for name in COSTS if name in beats[winner] & open_costs]
        parts.append(_comparison(winner, point, told, samples))
        open_costs -= set(told)
    return ", and ".join(parts)


def _beats(winner: Point, loser: Point, cost: Cost) -> bool:
    return winner.accuracy_frac >= loser.accuracy_frac and cost(winner) <= cost(loser)


def _comparison(winner: Point, loser: Point, costs: Sequence[str], samples: int) -> str:
    """Return "resnet-pruned-int8 is 0.1 points better, 2.3x faster and 3.0x smaller"."""
    told = [_accuracy_gain(winner, loser, samples)]
    for name in costs:
        ratio = COSTS[name](loser) / max(1e-9, COSTS[name](winner))
        if name == "energy" and "latency" in costs and _same_ratio(winner, loser, ratio):
            continue  # energy as power times time says nothing new
        told.append(_LESS[name].format(ratio) if ratio >= _EQUAL else f"no worse in {name}")
    rule = "" if winner.exit_rule == "full" else f" ({winner.exit_rule})"
    return f"{winner.variant}{rule} is {', '.join(told[:-1])} and {told[-1]}"


def _accuracy_gain(winner: Point, loser: Point, samples: int) -> str:
    gain = 100 * (winner.accuracy_frac - loser.accuracy_frac)
    if gain == 0:
        return "as accurate"
    noise = " (within noise)" if within_noise(winner.accuracy_frac, loser.accuracy_frac, samples) else ""
    return f"{gain:.2f} points better{noise}"


def _same_ratio(winner: Point, loser: Point, energy_ratio: float) -> bool:
    latency_ratio = loser.latency_ns / max(1e-9, winner.latency_ns)
    return abs(energy_ratio / latency_ratio - 1) < _EQUAL - 1
