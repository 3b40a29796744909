"""The scheduler really serves what a catalogue tells of, with every invariant checked."""

from typing import Any

import pytest

from trimtab.core import codec
from trimtab.domain.family import Family
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S
from trimtab.domain.request import Request
from trimtab_sim import Battery, DriverSettings, ModelledRuntime, RunReport, SimulatedDriver, World, poisson
from trimtab_sim.catalogue import Catalogue, load_catalogue, shipped_catalogues

FILES: dict[str, dict[str, Any]] = {
    "example.csv": {},
    "mcdnn.csv": {"device_profile": "oriole"},
    "published_variants.csv": {"device": "Pixel 4", "device_profile": "sunfish", "fill": True},
}


def serve(catalogue: Catalogue, count: int) -> RunReport:
    world = World(catalogue.processors, catalogue.families, catalogue.profiles)
    runtime = ModelledRuntime(world.families, world.profiles, seed=3)
    battery = Battery(2000.0, 0.9, 100.0, start_ns=NS_PER_S)
    driver = SimulatedDriver(world, Policy("p"), runtime, battery, DriverSettings(checked=True))
    kinds = [Request("", family.task, latency_budget_ns=400 * NS_PER_MS) for family in world.families]
    return driver.run(poisson(3, 2.0, count, kinds, driver.start()))


@pytest.mark.parametrize("name", FILES)
def test_a_catalogues_families_are_served(name: str) -> None:
    catalogue = load_catalogue(shipped_catalogues() / name, **FILES[name])
    report = serve(catalogue, 60)
    assert report.requests == 60
    assert report.unfinished == 0
    served = [one for one in report.served if one.decision is not None and one.decision.variant]
    assert len(served) > 30
    known = {family.task: {variant.name for variant in family.variants} for family in catalogue.families}
    assert all(one.decision.variant in known[one.arrival.request.task] for one in served if one.decision)


@pytest.mark.parametrize("name", FILES)
def test_families_are_manifests_like_any_other(name: str) -> None:
    catalogue = load_catalogue(shipped_catalogues() / name, **FILES[name])
    names = {processor.name for processor in catalogue.processors}
    for family in catalogue.families:
        assert codec.decode_value(Family, codec.encode_value(family)) == family
        variants = {variant.name for variant in family.variants}
        assert {family.reference, family.last_resort} <= variants
        assert all(0 < variant.accuracy_frac <= 1 for variant in family.variants)
        profiles = catalogue.profiles[family.task]
        assert {one.variant for one in profiles} == variants
        assert {one.processor for one in profiles} <= names
        pairs = [(one.variant, one.processor) for one in profiles]
        assert len(set(pairs)) == len(pairs)
        assert all(one.stage_latency_ns[0] > 0 and one.stage_energy_uj[0] > 0 for one in profiles)
