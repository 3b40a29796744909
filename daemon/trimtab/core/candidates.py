"""Turn profiles into candidates: every variant on every processor under every exit rule."""

from collections.abc import Iterable, Sequence
from math import exp

from trimtab.domain.decision import Candidate
from trimtab.domain.family import ExitRule, Family, Profile
from trimtab.domain.processor import Processor

WORST_SIGMAS = 4.0
LEAST_SPREAD = 0.05
"""A charge is promised at so many standard deviations of ln(latency) above its median, of at least such a spread."""


def build_candidates(
    family: Family, profiles: Iterable[Profile], processors: Sequence[Processor]
) -> tuple[Candidate, ...]:
    """Return all candidates of a family, ordered by variant and processor as these are listed.

    A profile of a processor that is not here, or with another number of stages than the variant, is left
    out. Raises ``ValueError`` naming variant and processor where figures per exit do not match the stages.
    """
    known = {(p.variant, p.processor): p for p in profiles}
    found: list[Candidate] = []
    for variant in family.variants:
        for processor in processors:
            profile = known.get((variant.name, processor.name))
            if profile is not None and len(profile.stage_latency_ns) == len(variant.stages):
                found.extend(_candidate(profile, processor, rule) for rule in variant.exit_rules)
    return tuple(found)


def _candidate(profile: Profile, processor: Processor, rule: ExitRule) -> Candidate:
    stages = len(profile.stage_latency_ns)
    figures = (profile.stage_energy_uj, rule.share_frac, rule.accuracy_frac)
    if stages == 0 or any(len(figure) != stages for figure in figures):
        where = f"variant {profile.variant!r} on {profile.processor!r}, exit rule {rule.name!r}"
        raise ValueError(
            f"{where}: energy, shares and accuracies need one figure for each of {stages} stages"
        )
    latency, energy = _cumulative(profile.stage_latency_ns), _cumulative(profile.stage_energy_uj)
    return Candidate(
        variant=profile.variant,
        processor=profile.processor,
        exit_rule=rule.name,
        threshold=rule.threshold,
        share_frac=rule.share_frac,
        accuracy_frac=rule.accuracy_frac,
        latency_ns=tuple(int(x) for x in latency),
        energy_uj=energy,
        latency_spread=profile.latency_spread,
        expected_latency_ns=round(_expected(rule.share_frac, latency)),
        expected_energy_uj=_expected(rule.share_frac, energy),
        load_ns=profile.load_ns,
        load_energy_uj=profile.load_energy_uj,
        resident_bytes=profile.resident_bytes,
        cost_usd=processor.charge_usd(latency[-1]) if processor.is_remote else 0.0,
        worst_usd=_worst_usd(profile, processor, latency[-1]),
        remote=processor.is_remote,
    )


def _worst_usd(profile: Profile, processor: Processor, latency_ns: float) -> float:
    """Return what a server charges for a run that is slower than nearly all."""
    if not processor.is_remote:
        return 0.0
    slower = exp(WORST_SIGMAS * max(profile.latency_spread, LEAST_SPREAD))
    server_ns = max(0.0, latency_ns - processor.network_ns)
    return processor.charge_usd(processor.network_ns + server_ns * slower)


def _cumulative(values: Iterable[float]) -> tuple[float, ...]:
    total, out = 0.0, []
    for value in values:
        total += value
        out.append(total)
    return tuple(out)


def _expected(share: Sequence[float], cost: Sequence[float]) -> float:
    return sum(s * c for s, c in zip(share, cost, strict=True))
