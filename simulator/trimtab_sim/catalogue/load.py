"""Reads any catalogue: finds out what a path is by its header and hands it, with options, to its reader."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from trimtab.adapters.energy import PowerModel
from trimtab.adapters.family_store import MANIFEST
from trimtab.domain.processor import Processor
from trimtab_sim.catalogue.aihub import COLUMNS as AIHUB_COLUMNS
from trimtab_sim.catalogue.aihub import AihubFiles, aihub_place, aihub_tasks, read_aihub, read_latencies
from trimtab_sim.catalogue.build import Basis
from trimtab_sim.catalogue.collection import Choice, Collection, catalogue_of
from trimtab_sim.catalogue.manifest import read_manifests
from trimtab_sim.catalogue.mcdnn import COLUMNS as MCDNN_COLUMNS
from trimtab_sim.catalogue.mcdnn import read_mcdnn
from trimtab_sim.catalogue.measurements import LatencyTable, Setup
from trimtab_sim.catalogue.model import Assumptions, Catalogue, CatalogueError, Problem, Task
from trimtab_sim.catalogue.ncnn import COLUMNS as NCNN_COLUMNS
from trimtab_sim.catalogue.ncnn import ncnn_place, read_ncnn
from trimtab_sim.catalogue.options import (
    AihubOptions,
    CommonOptions,
    DeviceOptions,
    ManifestOptions,
    McdnnOptions,
    NcnnOptions,
    PublishedOptions,
    options_of,
)
from trimtab_sim.catalogue.own import read_own
from trimtab_sim.catalogue.power import Power, ProfilePower
from trimtab_sim.catalogue.published import COLUMNS as PUBLISHED_COLUMNS
from trimtab_sim.catalogue.published import published_place, read_published
from trimtab_sim.catalogue.shipped import shipped_catalogues
from trimtab_sim.catalogue.table import header_of
from trimtab_sim.device.profile import DeviceProfile
from trimtab_sim.device.profile_load import DeviceError, load_device

NCNN_ACCURACY: Final = Path("accuracy") / "ncnn.csv"
"""Below the shipped catalogues; no catalogue itself."""


class _Place(Protocol):
    """Says which processor a setup of a file is, on a device with a profile or on one without."""

    def __call__(self, setup: Setup, profile: DeviceProfile | None) -> Processor:
        """Return the processor."""


def load_catalogue(path: str | Path, **options: Any) -> Catalogue:
    """Return the families, processors and profiles that ``path`` tells of, a file or a folder of manifests.

    What it is, its header tells; each reader's options are in ``trimtab_sim.catalogue.options``. Relative files among
    the options are looked for in the folder of ``path``. Raises ``CatalogueError`` with every problem found.
    """
    path = Path(path).expanduser()
    kind = format_of(path)
    try:
        return _READERS[kind](path, options)
    except CatalogueError:
        raise
    except (ValueError, DeviceError) as error:
        raise CatalogueError((Problem(str(path), 0, "", str(error)),)) from error


def load_latencies(path: str | Path) -> LatencyTable:
    """Return the latencies of all devices in one of the published files; raise ``CatalogueError``."""
    path = Path(path).expanduser()
    readers: Mapping[str, Callable[[Path], Collection]] = {
        "published": read_published,
        "aihub": read_latencies,
        "ncnn": read_ncnn,
    }
    kind = format_of(path)
    if kind not in readers:
        raise CatalogueError(
            (Problem(str(path), 0, "", f"tells of one device only; expected {', '.join(readers)}"),)
        )
    return readers[kind](path).table()


def format_of(path: Path) -> str:
    """Return ``manifest``, ``published``, ``aihub``, ``ncnn``, ``mcdnn`` or ``own``; raise ``CatalogueError``."""
    if path.is_dir() or path.name == MANIFEST:
        return "manifest"
    header = set(header_of(path))
    for kind, columns in _HEADERS.items():
        if header >= columns:
            return kind
    return "own"


_HEADERS: Final[Mapping[str, frozenset[str]]] = {
    "published": frozenset(PUBLISHED_COLUMNS),
    "aihub": frozenset(AIHUB_COLUMNS),
    "ncnn": frozenset(NCNN_COLUMNS),
    "mcdnn": frozenset(MCDNN_COLUMNS),
}


def _basis(options: CommonOptions, tasks: Mapping[str, Task] | None = None) -> Basis:
    """Return what completes a file's figures under these options."""
    device = _device(options)
    model = PowerModel()
    power: Power = ProfilePower(device, model) if device else model
    return Basis(Assumptions(options.latency_spread, options.load_bytes_per_s), power, tasks or {})


def _device(options: CommonOptions) -> DeviceProfile | None:
    return load_device(options.device_profile) if options.device_profile else None


def _selected(
    collection: Collection, options: DeviceOptions, place: _Place, tasks: Mapping[str, Task]
) -> Catalogue:
    """Return one device's part of a file."""
    place_here = partial(place, profile=_device(options))
    choice = Choice(options.device, place_here, options.runtime, options.fill)
    return catalogue_of(collection, choice, _basis(options, tasks))


def _manifest(path: Path, given: Mapping[str, Any]) -> Catalogue:
    options = options_of(ManifestOptions, given)
    return read_manifests(path, path / options.profiles if options.profiles else None)


def _published(path: Path, given: Mapping[str, Any]) -> Catalogue:
    options = options_of(PublishedOptions, given)
    tasks = {
        "imagenet": Task("imagenet", "ImageNet classification", "TensorFlow documentation", "Apache-2.0")
    }
    return _selected(read_published(path, options.families), options, published_place, tasks)


def _aihub(path: Path, given: Mapping[str, Any]) -> Catalogue:
    options = options_of(AihubOptions, given)
    collection = read_aihub(AihubFiles(path, path.parent / options.models, path.parent / options.accuracy))
    return _selected(collection, options, aihub_place, aihub_tasks(collection))


def _ncnn(path: Path, given: Mapping[str, Any]) -> Catalogue:
    options = options_of(NcnnOptions, given)
    profile = _device(options)
    if profile is not None and not options.device:
        options = replace(options, device=profile.ncnn_device)
    accuracy = path.parent / options.accuracy if options.accuracy else shipped_catalogues() / NCNN_ACCURACY
    tasks = {
        "imagenet": Task(
            "imagenet", "ImageNet classification", "Tencent/ncnn benchmark/README.md", "BSD-3-Clause"
        )
    }
    return _selected(read_ncnn(path, accuracy), options, ncnn_place, tasks)


def _mcdnn(path: Path, given: Mapping[str, Any]) -> Catalogue:
    options = options_of(McdnnOptions, given)
    return read_mcdnn(path, options, _basis(options), _device(options))


def _own(path: Path, given: Mapping[str, Any]) -> Catalogue:
    options = options_of(CommonOptions, given)
    return read_own(path, _basis(options), _device(options))


_READERS: Final[Mapping[str, Callable[[Path, Mapping[str, Any]], Catalogue]]] = {
    "manifest": _manifest,
    "published": _published,
    "aihub": _aihub,
    "ncnn": _ncnn,
    "mcdnn": _mcdnn,
    "own": _own,
}
