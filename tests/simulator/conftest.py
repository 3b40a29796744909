"""A tiny world: one family on two cores and their gang, with made-up profiles."""

import pytest

from trimtab.domain.family import Profile
from trimtab.domain.quantities import NS_PER_MS
from trimtab.testing import tiny_family, tiny_processors
from trimtab_sim import World

LATENCY_NS = {"large": 3 * NS_PER_MS, "small": 400_000, "staged": 800_000}


@pytest.fixture
def world() -> World:
    family, processors = tiny_family(), tiny_processors()
    profiles = tuple(
        Profile(
            variant=variant.name,
            processor=processor.name,
            stage_latency_ns=(LATENCY_NS[variant.name] // processor.threads,) * len(variant.stages),
            latency_spread=0.1,
            stage_energy_uj=(LATENCY_NS[variant.name] * 2e-3,) * len(variant.stages),
            load_ns=4 * NS_PER_MS,
            load_energy_uj=1000.0,
            resident_bytes=2 << 20,
        )
        for variant in family.variants
        for processor in processors
    )
    return World(processors, (family,), {"tiny": profiles})
