"""What the demo plays: three apps, their requests, and a battery sized so that choices matter."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.domain.family import Family, ProfileSet
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J

SEED = 2026
RESERVE_FRAC = 0.05
KEEP_AVAILABLE_BYTES = 64 << 20
BACKGROUND_SHARE = 0.30
"""The rest of the device drains this part of what always-largest would use for inference."""
ADAPTIVE_SHARE = 0.40
"""The battery leaves this part of what always-largest would use for inference."""


@dataclass(frozen=True, slots=True)
class App:
    """One app: requests per second, latency budget and accuracy floor (0: none)."""

    name: str
    rate_per_s: float
    latency_budget_ms: float
    min_accuracy: float
    priority: int = 0


APPS = (
    App("viewfinder", 14.0, 12.0, 0.0, priority=1),
    App("assistant", 10.0, 40.0, 0.88),
    App("gallery", 8.0, 150.0, 0.90),
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One request: when (ns from the start of the act), by which app, and which test sample."""

    at_ns: int
    app: str
    sample: int


@dataclass(frozen=True, slots=True)
class BatteryPlan:
    """A virtual battery: energy of a full charge in J and the device's own drain in mW."""

    capacity_j: float
    background_mw: float


def plan_shots(seconds: float, samples: int, seed: int = SEED) -> tuple[Shot, ...]:
    """Return Poisson arrivals of all apps over ``seconds``, in order of time; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - arrivals, not secrets
    shots: list[Shot] = []
    for app in APPS:
        at_s = chance.expovariate(app.rate_per_s)
        while at_s < seconds:
            shots.append(Shot(int(at_s * NS_PER_S), app.name, chance.randrange(samples)))
            at_s += chance.expovariate(app.rate_per_s)
    return tuple(sorted(shots, key=lambda shot: (shot.at_ns, shot.app)))


def plan_battery(family: Family, profiles: ProfileSet, requests: int, seconds: float) -> BatteryPlan:
    """Size the battery so that serving everything with the most accurate variant empties it about half-way."""
    largest = max(family.variants, key=lambda v: v.accuracy_frac).name
    energy_uj = min(sum(p.stage_energy_uj) for p in profiles.profiles if p.variant == largest)
    largest_j = requests * energy_uj / UJ_PER_J
    background_j = BACKGROUND_SHARE * largest_j
    capacity_j = (background_j + ADAPTIVE_SHARE * largest_j) / (1.0 - RESERVE_FRAC)
    return BatteryPlan(capacity_j, background_j / seconds * 1e3)


def policy_yaml(seconds: float, strategy: str = "value") -> str:
    """Return the demo's policy: last until the end of the act with the reserve left."""
    floors = "\n".join(
        f"  - name: {app.name}\n    when: {{app: {app.name}}}\n"
        f"    then: {{latency_budget_ms: {app.latency_budget_ms:g}, min_accuracy: {app.min_accuracy:g}}}"
        for app in APPS
    )
    return f"""# The policy of `trimtab demo`: last until the end with {RESERVE_FRAC:.0%} in reserve.
version: 1
name: demo
description: Serve three apps until the horizon and keep the reserve.
strategy: {strategy}
battery:
  reserve: {RESERVE_FRAC * 100:g} %
  last_for: {seconds:g}s
  below_reserve: reject
memory:
  keep_available: {KEEP_AVAILABLE_BYTES}
rules:
{floors}
"""


def split_by_app(shots: Sequence[Shot]) -> dict[str, list[Shot]]:
    """Return each app's own requests."""
    found: dict[str, list[Shot]] = {app.name: [] for app in APPS}
    for shot in shots:
        found[shot.app].append(shot)
    return found
