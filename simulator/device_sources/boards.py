"""Single-board computers: clocks and limits as published, power split by a stated rule.

What a busy core draws is nowhere published for them. What is: power (or current) idle and with all cores
busy. The difference, less what all cores share, is divided among the cores; below the top clock it falls as
clock times voltage squared where voltages are published, else as the clock to the power of 2.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from device_sources.figures import Figure, Value, assumed, published, rounded
from device_sources.heat import NO_HYSTERESIS, sensor, throttle
from device_sources.phones import Section, processors

SPLIT: Final = "board_split"


@dataclass(frozen=True, slots=True)
class CoreSet:
    """A cluster: clocks (kHz, rising), mA of one busy core at the top, volts per step if published."""

    name: str
    cores: tuple[int, ...]
    khz: tuple[int, ...]
    top_ma: float
    clocks_from: str
    volts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Board:
    """A board: idle and shared draw (mA at the supply), heat, limits, memory in MiB."""

    title: str
    year: int
    chip: str
    product: str
    core_sets: tuple[CoreSet, ...]
    idle_ma: Figure
    active_ma: float
    memory_mib: int
    wifi_ma: tuple[float, float, float]
    heat: tuple[float, float, float, float]
    limits: tuple[Figure, Figure, Figure]
    notes: tuple[str, ...]
    voltage_mv: int = 5000
    gpu: Section | None = None
    npu: Section | None = None
    ncnn_device: str = ""
    gpu_limits: tuple[Figure, Figure] | None = None
    stops: bool = True
    """Whether it turns itself off at its last limit; a Raspberry Pi goes to its least clock."""


def _accelerator(title: str, provider: str, khz: Figure, most_mw: float) -> Section:
    """Return a GPU or NPU whose power is assumed."""
    clocks = [float(step or 0) for step in khz.numbers]
    power: Value = [rounded(most_mw * (clock / clocks[-1]) ** 1.5, 3) for clock in clocks]
    return {
        "title": title,
        "provider": provider,
        "khz": khz,
        "power_mw": assumed(power, "board_gpu"),
        "idle_mw": assumed(20, "board_gpu"),
    }


def _mhz(*steps: float) -> tuple[int, ...]:
    return tuple(round(step * 1000) for step in steps)


_RPI_LIMITS = published(80, "rpi_thermal"), assumed(78, "board_caps"), published(85, "rpi_thermal")

BOARDS: Final[Mapping[str, Board]] = {
    "raspberrypi4": Board(
        title="Raspberry Pi 4 Model B",
        year=2019,
        chip="Broadcom BCM2711",
        product="rpi_product",
        core_sets=(
            CoreSet("cpu", (0, 1, 2, 3), tuple(range(600_000, 1_900_000, 100_000)), 205, "rpi_clocks"),
        ),
        idle_ma=published(600, "rpi_power"),
        active_ma=40,
        memory_mib=4096,
        wifi_ma=(20, 120, 80),
        heat=(3, 45, 0.25, 0.15),
        limits=_RPI_LIMITS,
        stops=False,
        notes=(
            "Core current: 1,200 mA with all four cores under stress at 1.5 GHz less 600 mA idle, as published, less "
            "40 mA shared, is 140 mA a core there and 205 mA at 1.8 GHz; in all 1,460 mA, where Linpack on all cores "
            "was measured to take 7.2 W at the wall (geerlingguy/top500-benchmark at 0137a2ea46ba).",
        ),
        ncnn_device="Raspberry Pi 4 Model B Broadcom BCM2711B0, Cortex-A72 (ARMv8) (1.8GHz x 4)",
    ),
    "raspberrypi5": Board(
        title="Raspberry Pi 5",
        year=2023,
        chip="Broadcom BCM2712",
        product="rpi_product",
        core_sets=(
            CoreSet("cpu", (0, 1, 2, 3), tuple(range(1_500_000, 2_500_000, 100_000)), 345, "rpi_clocks"),
        ),
        idle_ma=assumed(640, "board_idle"),
        active_ma=80,
        memory_mib=8192,
        wifi_ma=(20, 120, 80),
        heat=(3, 60, 0.6, 0.4),
        limits=_RPI_LIMITS,
        stops=False,
        notes=(
            "Core current: Linpack on all cores was measured to take 11 W at the wall (geerlingguy/top500-benchmark at 0137a2ea46ba), 2,100 mA at the "
            "board after a supply of 95 %; less idle and shared, 345 mA a core at 2.4 GHz.",
        ),
        gpu=_accelerator(
            "Broadcom VideoCore VII", "WebGpuExecutionProvider", published(_mhz(500, 910), "rpi_clocks"), 2000
        ),
        ncnn_device="Raspberry Pi 5 Broadcom BCM2712, Cortex-A76 (ARMv8) (2.4GHz x 4)",
        gpu_limits=(published(85, "rpi_thermal"), assumed(83, "board_caps")),
    ),
    "raspberrypizero2w": Board(
        title="Raspberry Pi Zero 2 W",
        year=2021,
        chip="Broadcom BCM2710A1 (RP3A0)",
        product="rpi_product",
        core_sets=(
            CoreSet("cpu", (0, 1, 2, 3), tuple(range(600_000, 1_100_000, 100_000)), 65, "rpi_clocks"),
        ),
        idle_ma=assumed(120, "board_idle"),
        active_ma=20,
        memory_mib=512,
        wifi_ma=(20, 120, 80),
        heat=(2, 12, 0.2, 0.06),
        limits=_RPI_LIMITS,
        stops=False,
        notes=(
            "Core current: Linpack on all cores was measured to take 2.1 W at the wall (geerlingguy/top500-benchmark at 0137a2ea46ba), 400 mA at the "
            "board after a supply of 95 %; less idle and shared, 65 mA a core at 1 GHz.",
        ),
        ncnn_device="Raspberry Pi Zero 2 W Broadcom BCM2710A1, Cortex-A53 (ARMv8) (1.0GHz x 4)",
    ),
    "orangepi5": Board(
        title="Orange Pi 5",
        year=2022,
        chip="Rockchip RK3588S",
        product="orangepi_product",
        core_sets=(
            CoreSet(
                "cpu-little",
                (0, 1, 2, 3),
                _mhz(1008, 1200, 1416, 1608, 1800),
                70,
                "rk3588_clocks",
                (0.675, 0.7125, 0.7625, 0.85, 0.95),
            ),
            CoreSet(
                "cpu-big",
                (4, 5, 6, 7),
                _mhz(1200, 1416, 1608, 1800, 2016, 2208, 2400),
                350,
                "rk3588_clocks",
                (0.675, 0.725, 0.7625, 0.85, 0.925, 0.9875, 1.0),
            ),
        ),
        idle_ma=assumed(420, "board_idle"),
        active_ma=80,
        memory_mib=8192,
        wifi_ma=(0, 0, 0),
        heat=(4, 60, 0.5, 0.25),
        limits=(
            published(85, "rk3588_thermal"),
            published(83, "rk3588_thermal"),
            published(115, "rk3588_thermal"),
        ),
        notes=(
            "Core current: Linpack on all cores was measured to take 11.5 W at the wall (geerlingguy/top500-benchmark at 0137a2ea46ba), 2,180 mA at the "
            "board after a supply of 95 %; less idle and shared, divided five to one between a big and a small core.",
        ),
        gpu=_accelerator(
            "ARM Mali-G610 MP4",
            "WebGpuExecutionProvider",
            assumed(_mhz(300, 500, 700, 1000), "board_gpu"),
            3000,
        ),
        npu=_accelerator(
            "Rockchip NPU, 6 TOPS", "RknpuExecutionProvider", assumed(_mhz(300, 600, 1000), "board_gpu"), 1500
        ),
        ncnn_device="OrangePi5, Rockchip RK3588s (Quad Core A76 2.4GHz + Quad Core A55 1.8GHz)",
    ),
    "jetsonnano": Board(
        title="NVIDIA Jetson Nano",
        year=2019,
        chip="NVIDIA Tegra X1 (T210)",
        product="jetson_nano_guide",
        core_sets=(
            CoreSet(
                "cpu",
                (0, 1, 2, 3),
                _mhz(
                    102,
                    204,
                    307.2,
                    403.2,
                    518.4,
                    614.4,
                    710.4,
                    825.6,
                    921.6,
                    1036.8,
                    1132.8,
                    1224,
                    1326,
                    1428,
                    1479,
                ),
                160,
                "jetson_nano_guide",
            ),
        ),
        idle_ma=assumed(400, "board_idle"),
        active_ma=60,
        memory_mib=4096,
        wifi_ma=(0, 0, 0),
        heat=(4, 120, 1.0, 0.25),
        limits=(
            published(98.5, "tegra210_thermal"),
            published(97.5, "tegra210_thermal"),
            published(102.5, "tegra210_thermal"),
        ),
        notes=(
            "Power: the 10 W of the faster published mode divided into 2 W idle, 3.5 W for four busy cores and 4.5 W "
            "for the GPU; the split is assumed.",
        ),
        gpu=_accelerator(
            "NVIDIA Maxwell, 128 cores",
            "CUDAExecutionProvider",
            published(
                _mhz(76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6, 614.4, 691.2, 768, 844.8, 921.6),
                "jetson_nano_guide",
            ),
            4500,
        ),
        ncnn_device="NVIDIA Jetson Nano",
        gpu_limits=(published(100, "tegra210_thermal"), published(99, "tegra210_thermal")),
    ),
    "jetsonorinnano": Board(
        title="NVIDIA Jetson Orin Nano",
        year=2023,
        chip="NVIDIA Orin (T234)",
        product="jetson_orin_guide",
        core_sets=(
            CoreSet(
                "cpu",
                (0, 1, 2, 3, 4, 5),
                (*range(115_200, 1_510_400, 76_800), 1_510_400),
                115,
                "jetson_orin_guide",
            ),
        ),
        idle_ma=assumed(800, "board_idle"),
        active_ma=100,
        memory_mib=8192,
        wifi_ma=(20, 150, 100),
        heat=(5, 150, 1.0, 0.5),
        limits=(
            assumed(98.5, "board_thresholds"),
            assumed(97.5, "board_thresholds"),
            assumed(102.5, "board_thresholds"),
        ),
        notes=(
            "Power: the 15 W of the published mode divided into 4 W idle, 4 W for six busy cores and 7 W for the GPU; "
            "the split is assumed. Currents are at 5 V, the least the module takes.",
        ),
        gpu=_accelerator(
            "NVIDIA Ampere, 1024 cores",
            "CUDAExecutionProvider",
            published(_mhz(306, 408, 510, 612, 624.75), "jetson_orin_guide"),
            7000,
        ),
        ncnn_device="NVIDIA Jetson Orin Nano",
    ),
}


def profile(board: Board) -> Section:
    """Return a board's sections."""
    clusters = [_cluster(one) for one in board.core_sets]
    accelerators = {name: one for name, one in (("gpu", board.gpu), ("npu", board.npu)) if one is not None}
    system = min(400, board.memory_mib // 4)
    wifi = zip(("wifi_on_ma", "wifi_active_ma", "wifi_scan_ma"), board.wifi_ma, strict=True)
    return {
        "title": board.title,
        "kind": "board",
        "year": published(board.year, board.product),
        "chip": board.chip,
        **({"ncnn_device": board.ncnn_device} if board.ncnn_device else {}),
        "notes": list(board.notes),
        "processors": processors(clusters, *accelerators),
        "cpu": {
            "voltage_mv": published(board.voltage_mv, board.product),
            "suspend_ma": assumed(0, "board_never_sleeps"),
            "idle_ma": board.idle_ma,
            "active_ma": assumed(board.active_ma, SPLIT),
            "whole_cpu_steps": False,
            "clusters": clusters,
        },
        **accelerators,
        "memory": {
            "total_mib": published(board.memory_mib, board.product),
            "system_mib": assumed(system, "board_memory"),
            "low_mib": assumed(rounded(board.memory_mib * 0.05, 3), "board_memory"),
        },
        "radio": {name: assumed(value, "board_wifi") for name, value in wifi},
        "thermal": _thermal(board, clusters),
    }


def _cluster(one: CoreSet) -> Section:
    """Return a cluster, its current below the top clock by the stated rule."""
    top = one.khz[-1]
    if one.volts:
        shares = [
            khz / top * (volt / one.volts[-1]) ** 2 for khz, volt in zip(one.khz, one.volts, strict=True)
        ]
    else:
        shares = [(khz / top) ** 2.2 for khz in one.khz]
    return {
        "name": one.name,
        "cores": published(list(one.cores), one.clocks_from),
        "khz": published(one.khz, one.clocks_from),
        "core_ma": assumed([rounded(one.top_ma * share, 3) for share in shares], SPLIT),
        "cluster_ma": assumed(0, SPLIT),
    }


def _thermal(board: Board, clusters: Sequence[Section]) -> Section:
    """Return two lumps, one sensor, and a cap at its first threshold."""
    chip, body, out_of_chip, out_of_body = board.heat
    at, clear, last = board.limits
    severities = (
        None,
        None,
        at.number,
        *((None, None, last.number) if board.stops else (last.number, None, None)),
    )
    hot = Figure(last.tag, severities, last.reference)
    throttles = [
        throttle("cpu", str(one["name"]), (at, clear), assumed(_low_step(one), "board_caps"))
        for one in clusters
    ]
    for name, one in (("gpu", board.gpu), ("npu", board.npu)):
        if one is not None:
            at_c = board.gpu_limits or (at, clear)
            throttles.append(throttle("cpu", name, at_c, assumed(_low_step(one), "board_caps")))
    if board.stops:
        throttles.append(throttle("cpu", "device", (last, last), Figure(last.tag, 0, last.reference)))
    else:
        least = assumed(board.core_sets[0].khz[0], "board_caps")
        back = assumed(last.number - 2, "board_caps")
        throttles.append(throttle("cpu", board.core_sets[0].name, (last, back), least))
    return {
        "ambient_c": assumed(25, "room"),
        "nodes": [
            {"name": "soc", "j_per_c": assumed(chip, "board_heat")},
            {"name": "skin", "j_per_c": assumed(body, "board_heat")},
        ],
        "links": [
            {"ends": ["soc", "skin"], "w_per_c": assumed(out_of_chip, "board_heat")},
            {"ends": ["skin", "ambient"], "w_per_c": assumed(out_of_body, "board_heat")},
        ],
        "sensors": [sensor("cpu", "soc", hot, assumed(NO_HYSTERESIS, "board_caps"))],
        "throttles": throttles,
    }


def _low_step(section: Section) -> float:
    """Return the fastest clock of at most six tenths of the top one, or the slowest."""
    khz = section["khz"]
    assert isinstance(khz, Figure)
    clocks = [float(step or 0) for step in khz.numbers]
    return max((clock for clock in clocks if clock <= 0.6 * clocks[-1]), default=clocks[0])
