from typing import TYPE_CHECKING

import pytest

from trimtab.domain.quantities import Source
from trimtab_sim.catalogue import CatalogueError, load_catalogue, shipped_catalogues

if TYPE_CHECKING:
    from .conftest import Write

FILE = "mcdnn.csv"


def test_each_app_is_a_family_on_the_phone_and_the_server() -> None:
    catalogue = load_catalogue(shipped_catalogues() / FILE)
    assert [family.task for family in catalogue.families] == [
        "face",
        "gender",
        "age",
        "race",
        "object",
        "scene",
    ]
    assert [one.name for one in catalogue.processors] == ["gpu", "remote"]
    variants = sum(len(family.variants) for family in catalogue.families)
    assert variants == 24
    assert sum(len(some) for some in catalogue.profiles.values()) == 2 * variants


def test_figures_are_those_of_the_file() -> None:
    catalogue = load_catalogue(shipped_catalogues() / FILE)
    face = catalogue.families[0]
    phone, server = (one for one in catalogue.profiles["face"] if one.variant == "D10")
    assert face.variant("D10").accuracy_frac == 0.667
    assert (phone.stage_latency_ns, phone.load_ns) == ((24_150_000,), 78_570_000)
    assert (phone.stage_energy_uj, phone.load_energy_uj) == ((360_000.0,), 4_440_000.0)
    assert phone.resident_bytes == 8_300_000
    assert (server.stage_latency_ns, server.load_ns) == ((105_490_000,), 51_950_000)
    assert (server.stage_energy_uj, server.resident_bytes) == ((3800.0,), 0)
    assert phone.energy_source is Source.PUBLISHED
    assert face.last_resort == "D10"


def test_unknown_memory_is_reported() -> None:
    catalogue = load_catalogue(shipped_catalogues() / FILE)
    assert [one.line for one in catalogue.reported] == [22, 23, 24, 25]
    assert all("memory or a load that is not told counts as 0" in one.message for one in catalogue.reported)
    scene = catalogue.profiles["scene"][0]
    assert (scene.resident_bytes, scene.memory_source) == (0, Source.ASSUMED)
    assert catalogue.families[-1].variants[1].name == "SVD-3-1k-1k"


def test_constants_and_the_server_are_options() -> None:
    path = shipped_catalogues() / FILE
    alone = load_catalogue(path, server=False, processor="cpu:0")
    assert [(one.name, one.cores) for one in alone.processors] == [("cpu:0", (0,))]
    near = load_catalogue(path, round_trip_ms=20.5, send_mj=1)
    server = near.profiles["face"][1]
    assert (server.stage_latency_ns, server.stage_energy_uj) == ((42_520_000,), (1000.0,))


def test_wrong_cells_are_told(write: "Write") -> None:
    text = (shipped_catalogues() / FILE).read_text().replace("167.1", "-1", 1).replace("69.2", "692", 1)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(write(FILE, text))
    told = str(caught.value)
    assert "mcdnn.csv:2: compute_ms: -1 is not above 0" in told
    assert "mcdnn.csv:3: accuracy_pct: is above 100 %" in told


def test_the_processor_is_the_devices() -> None:
    path = shipped_catalogues() / FILE
    with pytest.raises(CatalogueError, match=r"the device has no processor 'gpu'; it has cpu:0"):
        load_catalogue(path, device_profile="raspberrypi4")
    phone = load_catalogue(path, device_profile="oriole").processors[0]
    assert phone.provider == "WebGpuExecutionProvider"
