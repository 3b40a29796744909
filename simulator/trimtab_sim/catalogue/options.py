"""What a catalogue can be read with besides its path, per format; names are those of the scenario's ``options``."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

import msgspec

from trimtab.policy.structure import nearest

LATENCY_SPREAD: Final = 0.1
"""Standard deviation of ln(latency) where a file tells none."""
LOAD_BYTES_PER_S: Final = 156e6
"""How fast a variant is loaded where a file tells no load time: MCDNN's largest network took 2,531 ms for
394 MB (Han et al., MobiSys 2016)."""
_Options = TypeVar("_Options")


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """What completes figures that a file does not tell; all made with them is tagged assumed.

    ``device_profile`` is a shipped device's name or a file: its cores, names and power are used.
    """

    device_profile: str = ""
    latency_spread: float = LATENCY_SPREAD
    load_bytes_per_s: float = LOAD_BYTES_PER_S

    def __post_init__(self) -> None:
        """Refuse figures that make no sense with ``ValueError``."""
        if not 0 <= self.latency_spread <= 3:
            raise ValueError("latency_spread: expected 0 to 3")
        if not self.load_bytes_per_s > 0:
            raise ValueError("load_bytes_per_s: expected more than 0")


@dataclass(frozen=True, slots=True)
class DeviceOptions(CommonOptions):
    """Which part of a file of many devices: rows of ``device`` (its name or how only this one begins).

    ``runtime`` is one runtime's name, ``fastest`` (of each network on this device) or ``all``. With ``fill``
    networks not measured on a processor get a predicted latency, tagged assumed.
    """

    device: str = ""
    runtime: str = "fastest"
    fill: bool = False


@dataclass(frozen=True, slots=True)
class PublishedOptions(DeviceOptions):
    """For ``published_variants.csv``: only these families of networks; none named: all."""

    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AihubOptions(DeviceOptions):
    """For ``aihub_perf.csv``: files of sizes and of accuracies, by default in the same folder."""

    models: str = "aihub_models.csv"
    accuracy: str = "aihub_accuracy.csv"


@dataclass(frozen=True, slots=True)
class NcnnOptions(DeviceOptions):
    """For ``ncnn_bench.csv``: a file of accuracies; by default the one that ships.

    With ``device_profile`` the device is by default the one that the profile says has the same chip.
    """

    accuracy: str = ""


@dataclass(frozen=True, slots=True)
class McdnnOptions(CommonOptions):
    """For MCDNN's catalogue: with ``server`` there is a remote processor; constants of its scheduler.

    ``processor`` is the phone's processor, of which the file tells one.
    """

    server: bool = True
    round_trip_ms: float = 100.0
    send_mj: float = 3.8
    server_usd_per_ms: float = 1.8e-7
    processor: str = "gpu"


@dataclass(frozen=True, slots=True)
class ManifestOptions:
    """For families: a file or folder of profiles that a daemon keeps; empty: those in the manifests."""

    profiles: str = ""


def options_of(kind: type[_Options], given: Mapping[str, Any]) -> _Options:
    """Return options of a kind; raise ``ValueError`` for an unknown name or a value of another type."""
    known = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    for name in given:
        if name not in known:
            raise ValueError(f"{name}: no such option here{nearest(name, known)}")
    try:
        return msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from error
