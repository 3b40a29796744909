"""What ``make_devices.py`` knows about phones beyond the data: specifications, clocks, and texts of references.

Memory, GPU and outer dimensions are facts of the LineageOS wiki (github.com/LineageOS/lineage_wiki, one file
per device); where it lists several memory sizes the one taken is the first that sold world-wide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

WIKI_COMMIT: Final = "e61c5fa25d22de9cff40f1d5498e2fd87f31b263"


@dataclass(frozen=True, slots=True)
class Accelerated:
    """A GPU or NPU: title, clocks in kHz (rising), most power in mW, execution provider."""

    title: str
    khz: tuple[int, ...]
    most_mw: float
    provider: str


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone's specification: RAM in GiB, width, height and depth in mm, accelerators."""

    ram_gib: int
    size_mm: tuple[float, float, float]
    gpu: Accelerated
    npu: Accelerated | None = None
    capacity_mah: float | None = None
    cores: int | None = None
    wiki: str = ""
    ram_note: str = ""


def _gpu(title: str, top_mhz: int, most_mw: float) -> Accelerated:
    """Return a GPU with four steps below its usual top clock."""
    steps = tuple(round(top_mhz * part) * 1000 for part in (0.35, 0.5, 0.7, 1.0))
    return Accelerated(title, steps, most_mw, "WebGpuExecutionProvider")


def _dsp(title: str) -> Accelerated:
    """Return a tensor-capable DSP of Qualcomm's."""
    return Accelerated(title, (400_000, 700_000, 1_000_000), 1500.0, "QNNExecutionProvider")


MALI_TENSOR_KHZ: Final = tuple(
    mhz * 1000 for mhz in (151, 202, 251, 302, 351, 400, 471, 510, 572, 701, 762, 848)
)
TPU_KHZ: Final = (226_000, 455_000, 627_000, 845_000)
_TPU = Accelerated("Google Edge TPU", TPU_KHZ, 2500.0, "NnapiExecutionProvider")


def _mali(title: str) -> Accelerated:
    return Accelerated(title, MALI_TENSOR_KHZ, 4000.0, "WebGpuExecutionProvider")


PHONES: Final[Mapping[str, Phone]] = {
    "angler": Phone(3, (77.8, 159.3, 7.3), _gpu("Qualcomm Adreno 430", 630, 2000)),
    "wt88047": Phone(1, (67.2, 134, 9.4), _gpu("Qualcomm Adreno 306", 450, 500), ram_note="1 or 2 GiB"),
    "harpia": Phone(
        2, (72, 144.4, 9.9), _gpu("Qualcomm Adreno 306", 450, 500), cores=4, ram_note="1 or 2 GiB"
    ),
    "marlin": Phone(4, (75.7, 154.7, 8.5), _gpu("Qualcomm Adreno 530", 653, 2000)),
    "sailfish": Phone(4, (69.5, 143.8, 8.5), _gpu("Qualcomm Adreno 530", 653, 2000)),
    "taimen": Phone(4, (76.7, 157.9, 7.9), _gpu("Qualcomm Adreno 540", 710, 2000)),
    "blueline": Phone(
        4, (68.2, 145.6, 7.9), _gpu("Qualcomm Adreno 630", 710, 2000), _dsp("Qualcomm Hexagon 685")
    ),
    "enchilada": Phone(
        6,
        (75.3, 155.7, 7.8),
        _gpu("Qualcomm Adreno 630", 710, 2000),
        _dsp("Qualcomm Hexagon 685"),
        ram_note="6 or 8 GiB",
    ),
    "starlte": Phone(4, (68.7, 147.7, 8.5), _gpu("ARM Mali-G72 MP18", 572, 2000)),
    "beyond1lte": Phone(
        8,
        (70.4, 149.9, 7.8),
        _gpu("ARM Mali-G76 MP12", 702, 2000),
        Accelerated("Samsung Exynos NPU", (400_000, 700_000, 1_000_000), 1500.0, "NnapiExecutionProvider"),
    ),
    "hotdogb": Phone(
        8,
        (74.4, 160.9, 8.1),
        _gpu("Qualcomm Adreno 640", 672, 2500),
        _dsp("Qualcomm Hexagon 690"),
        wiki="hotdogb_variant1",
        ram_note="8 or 12 GiB",
    ),
    "lavender": Phone(
        4, (75.2, 159.2, 8.1), _gpu("Qualcomm Adreno 512", 647, 1000), ram_note="3, 4 or 6 GiB"
    ),
    "redfin": Phone(
        8, (70.4, 144.7, 8), _gpu("Qualcomm Adreno 620", 625, 1200), _dsp("Qualcomm Hexagon 696")
    ),
    "sunfish": Phone(
        6,
        (69.4, 144, 8.2),
        Accelerated(
            "Qualcomm Adreno 618", (267_000, 430_000, 565_000, 825_000), 1200.0, "WebGpuExecutionProvider"
        ),
        _dsp("Qualcomm Hexagon 688"),
    ),
    "a52q": Phone(
        6,
        (75.1, 159.9, 8.4),
        _gpu("Qualcomm Adreno 618", 750, 1200),
        _dsp("Qualcomm Hexagon 692"),
        ram_note="4, 6 or 8 GiB",
    ),
    "haydn": Phone(
        8,
        (76.45, 163.57, 7.87),
        _gpu("Qualcomm Adreno 660", 840, 4000),
        _dsp("Qualcomm Hexagon 780"),
        wiki="haydn_variant1",
        ram_note="8 or 12 GiB",
    ),
    "oriole": Phone(8, (74.8, 158.6, 8.9), _mali("ARM Mali-G78 MP20"), _TPU),
    "raven": Phone(12, (75.9, 163.9, 8.9), _mali("ARM Mali-G78 MP20"), _TPU),
    "cheetah": Phone(12, (76.6, 162.9, 8.9), _mali("ARM Mali-G710 MP7"), _TPU, ram_note="8 or 12 GiB"),
    "shiba": Phone(8, (70.8, 150.5, 8.9), _mali("ARM Mali-G715s MC10"), _TPU, capacity_mah=4575),
    "iphone13promax": Phone(
        6,
        (78.1, 160.8, 7.65),
        _gpu("Apple A15 GPU, 5 cores", 1200, 4000),
        Accelerated(
            "Apple Neural Engine, 16 cores", (400_000, 700_000, 1_000_000), 2000.0, "CoreMLExecutionProvider"
        ),
        capacity_mah=4352,
    ),
}

NOTES: Final[Mapping[str, tuple[str, ...]]] = {
    "harpia": (
        "The power profile has neither clusters nor a number of cores: one cluster of four is taken, as the "
        "specification says.",
    ),
    "lavender": (
        "The power profile gives 1 mA for active and cluster power alike, which look like placeholders, and its "
        "big cluster ends at 1,958,400 kHz where the specification says 2.2 GHz: as published.",
    ),
    "redfin": (
        "The power profile gives a small core more current than a big one (176 mA at 1.8 GHz against 135 mA at "
        "2.4 GHz): as published. Energy per request on the small cores is overstated if that is a slip.",
    ),
    "sunfish": (
        "The rule for the GPU that needs the skin above 45 degrees and the GPU 8 degrees above the CPU "
        "(VIRTUAL-SS-GPU-SKIN) is left out; the later rules cap the GPU as well.",
    ),
    "haydn": (
        "The power profile gives no cluster power, and 53 mA for a small core at 300 MHz, which likely contains it.",
    ),
    "wt88047": (
        "The power profile's 151 mA at 200 MHz is four times what the same chip is given in harpia: as published.",
    ),
    "cheetah": (
        "The thermal policy counts 14 and 15 states for clusters of 15 and 18 steps, and their power falls in "
        "even steps of 50 mW: as published; the slowest steps have no power there.",
    ),
    "shiba": (
        "The power profile has no battery capacity; the specification's is taken. Its first eleven little and "
        "fourteen mid and all big currents are those of the Pixel 6 at other clocks: as published.",
        "The thermal policy states no power per cooling state; budgets have to be met with the power profile's.",
    ),
    "iphone13promax": (
        "There is no published power profile of this phone. Open-circuit voltage and resistance were found in the log "
        "of one phone, health after 718 cycles measured; currents of CPU, screen and radio are assumed.",
        "The published resistance, whose course is kept, ends with 1.174 ohm at full charge, an artefact of the gauge: the value before "
        "it is taken.",
    ),
}
