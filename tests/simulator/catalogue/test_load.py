from typing import TYPE_CHECKING

import pytest

from trimtab.adapters.family_store import shipped_families
from trimtab_sim.catalogue import CatalogueError, load_catalogue, load_latencies, shipped_catalogues
from trimtab_sim.catalogue.load import format_of

if TYPE_CHECKING:
    from .conftest import Write


@pytest.mark.parametrize(
    ("name", "kind"),
    [("example.csv", "own"), ("mcdnn.csv", "mcdnn"), ("published_variants.csv", "published")],
)
def test_a_header_tells_the_format(name: str, kind: str) -> None:
    assert format_of(shipped_catalogues() / name) == kind
    assert format_of(shipped_families() / "fashion") == "manifest"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devic": "Pixel 4"}, "devic: no such option here; did you mean device?"),
        ({"device": 4}, "Expected `str`, got `int`"),
        ({"device": "Nokia"}, "device: no rows of a device 'Nokia'"),
        ({}, "device: which one? There are Pixel "),
        ({"device": "Pixel 4", "latency_spread": -1}, "latency_spread: expected 0 to 3"),
        ({"device": "Pixel 4", "load_bytes_per_s": 0}, "load_bytes_per_s: expected more than 0"),
        ({"device": "Pixel 4", "device_profile": "orioel"}, "did you mean oriole?"),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, object], message: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(shipped_catalogues() / "published_variants.csv", **options)
    assert message in str(caught.value)
    assert "published_variants.csv" in str(caught.value)


def test_a_file_of_one_device_has_no_table_of_latencies(write: "Write") -> None:
    with pytest.raises(CatalogueError, match="tells of one device only"):
        load_latencies(write("mine.csv", "task,variant,processor\n"))


def test_a_folder_without_manifests_is_refused(write: "Write") -> None:
    path = write("some.txt", "")
    with pytest.raises(CatalogueError, match=r"has no manifest.json, nor has a folder in it"):
        load_catalogue(path.parent)


def test_a_missing_file_is_told() -> None:
    with pytest.raises(CatalogueError, match=r"nowhere.csv: cannot be read: No such file"):
        load_catalogue("nowhere.csv")
