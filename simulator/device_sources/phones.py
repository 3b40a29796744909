"""The sections of a phone's profile, from its power profile, its specification and stated models."""

from collections.abc import Mapping

from device_sources.facts import Accelerated, Phone
from device_sources.figures import Figure, Value, assumed, measured, published, rounded
from device_sources.power import ClusterTable, PowerProfile, cluster_tables, figure, holds_whole_cpu

Section = dict[str, object]
NOMINAL_MV = 3850
CLUSTER_NAMES = {1: ("cpu",), 2: ("cpu-little", "cpu-big"), 3: ("cpu-little", "cpu-mid", "cpu-big")}
"""As the daemon names core sets (trimtab.adapters.processors), slowest first."""


def battery(capacity: Figure, cell: Mapping[str, list[float]], *, is_cell: bool = False) -> Section:
    """Return the cell: the measured iPhone's itself if ``is_cell``, else that one scaled to ``capacity``."""
    mah = capacity.number
    tag, source = (measured, "iphone_log") if is_cell else (assumed, "cell_model")
    scale = 1.0 if is_cell else cell["capacity_mah"][0] / mah
    ageing: tuple[Figure, Figure] = (
        (
            measured(0.86, "iphone_cell"),
            measured(1026, "iphone_cell", "86 % after 718 cycles, on a straight line"),
        )
        if is_cell
        else (assumed(1, "ageing_model"), assumed(1000, "ageing_model"))
    )
    return {
        "capacity_mah": capacity,
        "nominal_voltage_mv": assumed(NOMINAL_MV, "nominal_voltage"),
        "cutoff_mv": tag(cell["cutoff_mv"][0], "iphone_cell" if is_cell else source),
        "charge_frac": tag(cell["charge_frac"], source),
        "ocv_mv": tag(cell["ocv_mv"], source),
        "resistance_frac": tag(cell["resistance_frac"], source),
        "resistance_mohm": tag([rounded(r * scale, 3) for r in cell["resistance_mohm"]], source),
        "resistance_kj_per_mol": assumed(20, "cell_model"),
        "health_frac": ageing[0],
        "cycles_to_80_percent": ageing[1],
        "charge_ma": assumed(rounded(mah / 2), "charging_model"),
        "charge_mv": assumed(4400, "charging_model"),
        "charge_end_ma": assumed(rounded(mah / 20, 3), "charging_model"),
    }


def cpu(profile: PowerProfile, phone: Phone, usual: Mapping[str, float]) -> Section:
    """Return the CPU of an Android phone."""
    whole = holds_whole_cpu(profile)
    tables = cluster_tables(profile, phone.cores)
    active = profile.first("cpu.active")
    shared = rounded(0.9 * min(min(table.core_ma) for table in tables), 3)
    return {
        "voltage_mv": assumed(NOMINAL_MV, "nominal_voltage"),
        "suspend_ma": figure(profile, "suspend_ma", usual),
        "idle_ma": figure(profile, "idle_ma", usual),
        "active_ma": published(active, "power_profile") if active else assumed(shared, "shared_draw"),
        "whole_cpu_steps": whole,
        "clusters": clusters(tables, "specification" if phone.cores else "power_profile"),
    }


def clusters(tables: tuple[ClusterTable, ...], cores_from: str) -> list[Section]:
    """Return clusters with their published steps; core numbers run on from one to the next."""
    sections: list[Section] = []
    first = 0
    for name, table in zip(CLUSTER_NAMES[len(tables)], tables, strict=True):
        stated = table.cluster_ma
        sections.append(
            {
                "name": name,
                "cores": published(list(range(first, first + table.cores)), cores_from),
                "khz": published(table.khz, "power_profile"),
                "core_ma": published(table.core_ma, "power_profile"),
                "cluster_ma": assumed(0, "shared_cluster")
                if stated is None
                else published(stated, "power_profile"),
            }
        )
        first += table.cores
    return sections


def accelerator(
    found: Accelerated, model: str, power: Figure | None = None, khz: Figure | None = None
) -> Section:
    """Return a GPU or NPU, its power published where ``power`` says so, else by the model's rule."""
    top = found.khz[-1]
    by_rule = [rounded(found.most_mw * (step / top) ** 1.5, 3) for step in found.khz]
    return {
        "title": found.title,
        "provider": found.provider,
        "khz": khz or assumed(found.khz, model),
        "power_mw": power or assumed(by_rule, model),
        "idle_mw": assumed(20, model),
    }


def published_gpu(profile: PowerProfile, found: Accelerated) -> Section | None:
    """Return the GPU as the power profile states it (Samsung's do), ``None`` where it does not."""
    if "gpu.speeds" not in profile.arrays:
        return None
    steps = sorted(zip(profile.arrays["gpu.speeds"], profile.arrays["gpu.active"], strict=True))
    khz: Value = [step for step, _ in steps]
    power: Value = [rounded(ma * NOMINAL_MV / 1000) for _, ma in steps]
    note = f"{NOMINAL_MV / 1000:g} V times the mA stated"
    return accelerator(
        found, "gpu_model", published(power, "power_profile", note), published(khz, "power_profile")
    )


def memory(phone: Phone, source: str = "specification") -> Section:
    """Return the memory."""
    total = phone.ram_gib * 1024
    note = f"sold with {phone.ram_note}" if phone.ram_note else ""
    return {
        "total_mib": published(total, source, note),
        "system_mib": assumed(rounded(total / 3, 3), "memory_model"),
        "low_mib": assumed(rounded(total * 0.06, 3), "memory_model"),
    }


def drains(profile: PowerProfile | None, usual: Mapping[str, float]) -> dict[str, Section]:
    """Return screen, radio and media."""
    sections = {
        "screen": ("ambient_ma", "on_ma", "full_ma"),
        "radio": (
            "wifi_on_ma",
            "wifi_active_ma",
            "wifi_scan_ma",
            "mobile_on_ma",
            "mobile_active_ma",
            "mobile_scan_ma",
            "gps_ma",
        ),
        "media": ("audio_ma", "video_ma", "camera_ma", "torch_ma"),
    }
    return {key: {name: figure(profile, name, usual) for name in names} for key, names in sections.items()}


def processors(sections: list[Section], *accelerators: str) -> list[str]:
    """Return a first core and all cores of each cluster, slowest first, then accelerators."""
    names: list[str] = []
    for section in sections:
        cores = section["cores"]
        assert isinstance(cores, Figure)
        first, last = cores.numbers[0], cores.numbers[-1]
        names.append(f"{section['name']}:{first}")
        if first != last:
            names.append(f"{section['name']}:{first}-{last}")
    return [*names, *accelerators]
