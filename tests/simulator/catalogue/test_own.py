import dataclasses
from typing import TYPE_CHECKING

import pytest

from trimtab.domain.processor import Processor
from trimtab.domain.quantities import Source
from trimtab_sim.catalogue import CatalogueError, load_catalogue

if TYPE_CHECKING:
    from .conftest import Write

HEADER = "task,variant,processor,accuracy_pct,latency_ms"


def test_figures_come_in_the_projects_units(write: "Write") -> None:
    path = write(
        "mine.csv",
        "task,variant,processor,accuracy_frac,latency_us,latency_p95_ms,latency_spread,energy_j,load_s,"
        "load_energy_mj,memory_mib,size_kb,parameters,macs,precision,source,note\n"
        "t,v,cpu-big:4-7,0.912,1500.5,2.1,0.2,0.0038,0.25,7,1.5,300,11.8M,1.00G,int8,measured,mine\n",
    )
    catalogue = load_catalogue(path)
    (family,), (profile,) = catalogue.families, catalogue.profiles["t"]
    variant = family.variant("v")
    assert profile.stage_latency_ns == (1_500_500,)
    assert (profile.latency_ns_p95, profile.latency_spread) == (2_100_000, 0.2)
    assert (profile.stage_energy_uj, profile.load_ns, profile.load_energy_uj) == (
        (3800.0,),
        250_000_000,
        7000.0,
    )
    assert (profile.resident_bytes, variant.artefact_bytes) == (1_572_864, 300_000)
    assert (variant.accuracy_frac, variant.parameters, variant.macs) == (0.912, 11_800_000, 10**9)
    assert {profile.latency_source, profile.energy_source, profile.memory_source} == {Source.MEASURED}
    assert catalogue.processors == (Processor("cpu-big:4-7", "cpu", (4, 5, 6, 7), 4),)
    assert catalogue.reported == ()


def test_what_is_not_told_is_assumed_and_tagged(write: "Write") -> None:
    path = write("mine.csv", f"{HEADER},size_mb\nt,v,gpu,90,10,156\n")
    (profile,) = load_catalogue(path, latency_spread=0.3).profiles["t"]
    assert (profile.latency_source, profile.latency_spread) == (Source.PUBLISHED, 0.3)
    assert profile.load_ns == 10**9
    assert profile.stage_energy_uj == (50_000.0,)
    assert profile.load_energy_uj == 5e6
    assert (profile.energy_source, profile.memory_source) == (Source.ASSUMED, Source.ASSUMED)


def test_a_devices_profile_gives_cores_and_power(write: "Write") -> None:
    path = write("mine.csv", f"{HEADER}\nt,v,cpu-big:6-7,90,10\nt,v,gpu,90,4\n")
    catalogue = load_catalogue(path, device_profile="oriole")
    on_cpu, on_gpu = catalogue.profiles["t"]
    assert [one.name for one in catalogue.processors] == ["cpu-big:6-7", "gpu"]
    assert catalogue.processors[1].provider == "WebGpuExecutionProvider"
    big_ma = 12.37 + 5.94 + 2 * 254.25
    assert on_cpu.stage_energy_uj[0] == pytest.approx(big_ma * 3.85 * 10)
    assert on_gpu.stage_energy_uj[0] == pytest.approx((4599 - 20) * 4)
    assert on_cpu.energy_source is Source.ASSUMED


def test_a_server_is_never_the_last_resort_and_needs_an_energy(write: "Write") -> None:
    header = f"{HEADER},energy_mj"
    path = write("mine.csv", f"{header}\nt,big,remote,95,1,3.8\nt,big,cpu:0,95,90,\nt,small,cpu:0,80,9,\n")
    catalogue = load_catalogue(path)
    assert (catalogue.families[0].reference, catalogue.families[0].last_resort) == ("big", "small")
    assert catalogue.processors[-1].name == "remote"
    with pytest.raises(CatalogueError, match=r"mine.csv:2: energy: a remote processor needs one"):
        load_catalogue(write("mine.csv", f"{HEADER}\nt,big,remote,95,1\n"))


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ("t,v,cpu:0,90,", ":2: latency_ms: is empty"),
        ("t,v,cpu:0,90,0", ":2: latency_ms: 0 is not above 0"),
        ("t,v,cpu:0,90,fast", ":2: latency_ms: 'fast' is not a number"),
        ("t,v,cpu:0,,5", ":2: accuracy: is needed"),
        ("t,v,cpu:0,101,5", ":2: accuracy: is needed, from 0 to 1 (or 100 %)"),
        (",v,cpu:0,90,5", ":2: task: is empty"),
        ("a/b,v,cpu:0,90,5", ":2: task: 'a/b' is not a name"),
        ("t,v,cpu 0,90,5", ":2: processor: 'cpu 0' is not a processor's name"),
        ("t,v,cpu:0,90,5,6", ":2: 6 cells under 5 column names"),
        ("t,v,cpu:0,90,5\nt,v,cpu:0,90,6", ":3: t/v on cpu:0 stands at line 2 too"),
        ("t,v,cpu:0,90,5\nt,v,cpu:1,91,6", ":3: accuracy_frac: t/v has 0.91, but 0.9 at line 2"),
    ],
)
def test_a_wrong_row_is_told_with_line_and_column(write: "Write", row: str, place: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(write("mine.csv", f"{HEADER}\n{row}\n"))
    assert f"mine.csv{place}" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("task,variant,processor,accuracy_pct,latency", ":1: latency: is not a column of a catalogue"),
        ("task,variant,processor,accuracy_pct", ":1: the header has no latency_ns or latency_us"),
        (f"{HEADER},latency_ns", ":1: latency_ns: latency_ms tells the same"),
        ("variant,processor,accuracy_pct,latency_ms", ":1: task: the header has no such column"),
    ],
)
def test_a_wrong_header_is_told(write: "Write", header: str, message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(write("mine.csv", f"{header}\n"))
    assert f"mine.csv{message}" in str(caught.value)


def test_every_problem_is_told_at_once(write: "Write") -> None:
    path = write(
        "mine.csv", f"{HEADER},cores,kind,source\nt,v,cpu:0,90,-1,9-x,car,guessed\nt,w,cpu:0,90,x,,,\n"
    )
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(path)
    told = [(problem.line, problem.column) for problem in caught.value.problems]
    assert sorted(told) == [(2, "cores"), (2, "kind"), (2, "latency_ms"), (2, "source"), (3, "latency_ms")]


def test_a_processor_is_described_once(write: "Write") -> None:
    path = write("mine.csv", f"{HEADER},cores\nt,v,fast,90,5,4-7\nt,w,fast,90,5,4\n")
    with pytest.raises(CatalogueError, match=r"mine.csv:3: processor: fast is described otherwise at line 2"):
        load_catalogue(path)


def test_a_file_without_rows_is_no_catalogue(write: "Write") -> None:
    with pytest.raises(CatalogueError, match="no row can be used"):
        load_catalogue(write("mine.csv", f"{HEADER}\n"))


def test_families_have_what_a_manifest_would(write: "Write") -> None:
    path = write("mine.csv", f"{HEADER}\nt,v,cpu:0,90,5\n")
    (family,) = load_catalogue(path).families
    (variant,) = family.variants
    assert [len(rule.share_frac) for rule in variant.exit_rules] == [len(variant.stages)]
    assert variant.exit_rules[0].accuracy_frac == (variant.accuracy_frac,)
    assert dataclasses.replace(family).offered() == family
