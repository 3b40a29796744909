from typing import TYPE_CHECKING

import pytest

from trimtab.domain.quantities import Source
from trimtab_sim.catalogue import CatalogueError, load_catalogue, shipped_catalogues

if TYPE_CHECKING:
    from .conftest import Write

FILE = shipped_catalogues() / "published_variants.csv"
HEADER = "family,variant,precision,input_px,width,params_m,macs_m,size_mb,top1_pct,device,unit,threads,latency_ms,source"


def test_a_phones_rows_become_one_family() -> None:
    catalogue = load_catalogue(FILE, device="Pixel 3", families=["mobilenet_v1"])
    (family,) = catalogue.families
    assert {one.name for one in catalogue.processors} == {"cpu:0-3", "gpu", "npu"}
    variant = family.variant("mobilenet_v1_0.25_128_quant-int8")
    assert (variant.accuracy_frac, variant.artefact_bytes, variant.precision) == (0.395, 500_000, "int8")
    fast = {one.processor: one for one in catalogue.profiles["imagenet"] if one.variant == variant.name}
    assert fast["cpu:0-3"].stage_latency_ns == (800_000,)
    assert fast["npu"].stage_latency_ns == (2_000_000,)
    assert fast["npu"].latency_source is Source.PUBLISHED
    assert fast["npu"].energy_source is Source.ASSUMED
    assert family.last_resort == variant.name
    assert family.reference == max(family.variants, key=lambda one: one.accuracy_frac).name


def test_nothing_is_dropped_without_a_word() -> None:
    lines = FILE.read_text().splitlines()[1:]
    told = [line for line in lines if ",Pixel 4," in line]
    catalogue = load_catalogue(FILE, device="pixel 4")
    used = len(catalogue.profiles["imagenet"])
    left_out = [one for one in catalogue.reported if "left out" in one.message]
    assert used + len(left_out) == len(told)
    assert all("Pixel 4" in lines[one.line - 2] for one in left_out)


def test_a_network_without_accuracy_is_left_out(write: "Write") -> None:
    rows = "f,known,fp32,,,,,4,70,Phone,CPU,4,10,s\nf,unknown,fp32,,,,,4,,Phone,CPU,4,12,s\n"
    catalogue = load_catalogue(write("some.csv", f"{HEADER}\n{rows}"))
    assert [one.name for one in catalogue.families[0].variants] == ["known-fp32"]
    (problem,) = catalogue.reported
    assert (problem.line, problem.message) == (3, "no accuracy is known of unknown fp32; the row is left out")


def test_the_first_of_two_accuracies_is_taken(write: "Write") -> None:
    rows = "f,a,fp32,,,4,,,70,Phone,CPU,4,10,s\nf,a,fp32,,,,,,71,Phone,GPU,,12,s\nf,a,fp32,,,,,,70,Phone,CPU,4,11,s\n"
    catalogue = load_catalogue(write("some.csv", f"{HEADER}\n{rows}"))
    assert catalogue.families[0].variants[0].accuracy_frac == 0.7
    assert [one.line for one in catalogue.reported] == [3, 4]
    assert [one.stage_latency_ns for one in catalogue.profiles["imagenet"]] == [(10_000_000,), (12_000_000,)]
    assert catalogue.profiles["imagenet"][0].resident_bytes == 16_000_000


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("f,a,fp32,,,,,,170,Phone,CPU,4,10,s", ":2: top1_pct: is above 100 %"),
        ("f,a,fp32,,,,,,70,Phone,CPU,4,ten,s", ":2: latency_ms: 'ten' is not a number"),
        ("f,,fp32,,,,,,70,Phone,CPU,4,10,s", ":2: variant: is empty"),
    ],
)
def test_wrong_cells_are_told(write: "Write", row: str, message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(write("some.csv", f"{HEADER}\n{row}\n"))
    assert f"some.csv{message}" in str(caught.value)


def test_an_unknown_unit_is_reported_and_left_out(write: "Write") -> None:
    rows = "f,a,fp32,,,,,4,70,Phone,TPU,4,10,s\nf,a,fp32,,,,,4,70,Phone,GPU,4,10,s\n"
    (problem,) = load_catalogue(write("some.csv", f"{HEADER}\n{rows}")).reported
    told = "'TPU' is not one of CPU, CPU_big, GPU, NNAPI, EdgeTPU; the row is left out"
    assert (problem.line, problem.column, problem.message) == (2, "unit", told)


def test_a_file_without_any_device_is_refused(write: "Write") -> None:
    with pytest.raises(CatalogueError, match=r"no row can be used: .*some.csv:2: unit: 'TPU' is not one of"):
        load_catalogue(write("some.csv", f"{HEADER}\nf,a,fp32,,,,,4,70,Phone,TPU,4,10,s\n"))


def test_gaps_can_be_filled_with_predictions() -> None:
    told = load_catalogue(FILE, device="Pixel 4")
    filled = load_catalogue(FILE, device="Pixel 4", fill=True)
    before = {(one.variant, one.processor): one for one in told.profiles["imagenet"]}
    after = {(one.variant, one.processor): one for one in filled.profiles["imagenet"]}
    assert {key: after[key] for key in before} == before
    guessed = [one for key, one in after.items() if key not in before]
    assert len(guessed) > 50
    assert {one.latency_source for one in guessed} == {Source.ASSUMED}
    assert sum(1 for one in filled.reported if "is predicted: " in one.message) >= len(guessed)
    small = after["mobilenet_v1_0.25_128_quant-int8", "cpu:0-3"].stage_latency_ns[0]
    large = after["inception_v3-fp32", "cpu:0-3"].stage_latency_ns[0]
    assert 0 < 30 * small < large
