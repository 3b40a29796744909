"""What each reference in a device profile stands for."""

from collections.abc import Mapping
from typing import Final

from device_sources.facts import WIKI_COMMIT

ANDROID_VALUES: Final = "source.android.com/docs/core/power/values"

PHONES: Final[Mapping[str, str]] = {
    "android_thermal_marlin": (
        "thermal/thermal.c of AOSP's device/google/marlin at 11f92e0 (skin and CPU thresholds of both Pixels of "
        "2016), Apache-2.0"
    ),
    "iphone_cell": (
        "One iPhone 13 Pro Max: voltage when empty, health after 718 cycles: markm39/mcm-battery-2026 at d0f2d11, "
        "Mark Miller 2026, CC BY 4.0"
    ),
    "iphone_log": (
        "Found by least squares (identify_cell) in that phone's battery log of 38 days, level, voltage, current and "
        "temperature: simulator/traces/iphone13promax_battery_5min_38d.csv.gz of the same source, CC BY 4.0. The "
        "resistance's course over charge is as published there, only its height is found"
    ),
    "iphone_specification": (
        "Apple's technical specifications of the iPhone 13 Pro Max (size, chip); capacity of 4,352 mAh from "
        "teardowns, macrumors.com/2021/09/24/iphone-13-battery-capacities-in-mah"
    ),
    "cell_model": (
        "The cell of an iPhone 13 Pro Max as published (CC BY 4.0, Mark Miller 2026) stands in for every phone's: "
        "same voltages, resistance in inverse proportion to capacity and not corrected for that cell's 718 "
        "cycles; Arrhenius with 20 kJ/mol doubles it between 25 and 0 degrees. Cut-off is that cell's voltage "
        "when empty."
    ),
    "ageing_model": (
        "A new cell; that iPhone kept 86 % after 718 cycles, on a straight line 80 % after about 1,000."
    ),
    "charging_model": "Half the capacity per hour at constant current up to 4.4 V, ended at a twentieth of it.",
    "nominal_voltage": "Usual nominal voltage of a phone's cell; power profiles do not say theirs.",
    "shared_draw": (
        "Old power profiles hold the whole CPU's draw with one core busy. Nine tenths of the least step is taken "
        "for what all cores share: on the same chip the newer profile of the Pixel 3 has 23.2 mA active and "
        "cluster beside 2.3 mA for a core, the older one of the OnePlus 6 has 23 mA in all."
    ),
    "shared_cluster": "Contained in what all cores share, or not stated.",
    "typical": "Median of what the other phones' power profiles say.",
    "from_transfer": "Scanning is receiving: the draw of a transfer.",
    "gpu_model": (
        "Usual clocks and power of such a GPU, power rising with the 1.5th power of the clock, which is how it "
        "rises in the power profiles of the Galaxy S9 and S10; busy on top of idle, idle 20 mW."
    ),
    "npu_model": "Round figures of such accelerators: one to three watts at full clock, power as the clock's 1.5th power.",
    "state_clocks": (
        "Clocks of the thermal policy's states are not part of it; the usual ones of that chip, fastest first. "
        "The TPU has four running states (drivers/edgetpu of Google's kernels), the later ones stop it."
    ),
    "memory_model": (
        "A third of the memory kept by the system, apps killed below 6 % free: of the size seen on Android phones."
    ),
    "heat_model": (
        "From the outer dimensions: 1.9 J/K per cm3 of phone, 8 W/K per m2 of surface to the air; 4 J/K per Wh of "
        "cell; 8 J/K of chip with its shield, 8 K/W from chip to surface."
    ),
    "room": "A room.",
    "skin_thresholds": "Thresholds of the Pixel 6 to 8 (VIRTUAL-SKIN); this phone's are not published.",
    "chip_thresholds": "CPU thresholds of the Pixel 3 and 5; this phone's are not published.",
    "throttle_model": (
        "The Pixel 4a's published caps, as fractions of its top clocks, taken over to this phone's clocks and "
        "severities: moderate 77 % of the big cores, severe 60 %, critical 50/56/52 % of big cores, small cores "
        "and GPU, emergency 37/43/32 %; half the clocks at the chip's own threshold."
    ),
    "charge_limit_model": (
        "Five steps of charging current at the Pixel 4a's published temperatures; by how much each cuts it is "
        "not published: even steps."
    ),
    "apple_model": (
        "Order of magnitude: reviewers measured 4 to 5 W for one performance core of the A15 at full clock and "
        "under half a watt for an efficiency core; the rest as in Android phones of that size."
    ),
}


BOARDS: Final[Mapping[str, str]] = {
    "room": PHONES["room"],
    "board_split": (
        "From what the board draws idle and with all cores busy, as the notes say, divided among the cores; over "
        "the clock as clock times voltage squared where voltages are published, else as clock to the power of 2.2."
    ),
    "board_idle": "Order of magnitude of what owners measure at the wall; not published by the maker.",
    "board_heat": (
        "Two lumps with round figures, so that the board throttles where owners report it does: without a cooler "
        "under full load for the Raspberry Pi 4, not with the usual cooler or fan for the others."
    ),
    "board_never_sleeps": "Boards do not suspend.",
    "board_memory": "The system keeps 400 MiB, or a quarter of a small memory; the kernel kills below 5 %.",
    "board_wifi": "Order of magnitude of a Wi-Fi chip's draw; zero where the board has none.",
    "board_gpu": "Round figures of such an accelerator within the module's power; power as the clock's 1.5th power.",
    "board_caps": "The published policy lowers clocks step by step between its thresholds; one step to a low clock here.",
    "board_thresholds": "As on the Jetson Nano: NVIDIA's developer guide for this module states them, but was not at hand.",
    "rpi_power": (
        "raspberrypi/documentation at 4127dbed9780: documentation/asciidoc/computers/raspberry-pi/power-supplies.adoc "
        "(idle and stress current), CC BY-SA 4.0"
    ),
    "rpi_thermal": (
        "raspberrypi/documentation at 0456a78c93ba: documentation/asciidoc/computers/raspberry-pi/"
        "frequency-management.adoc (80 and 85 degrees), CC BY-SA 4.0"
    ),
    "rpi_clocks": (
        "raspberrypi/documentation at 09e9186d4280: documentation/asciidoc/computers/config_txt/overclocking.adoc "
        "(least and most clock), CC BY-SA 4.0; steps of 100 MHz as drivers/cpufreq/raspberrypi-cpufreq.c of Linux makes them"
    ),
    "rpi_product": "Product brief of the board at raspberrypi.com (memory, cores, year; 5 V supply)",
    "rk3588_clocks": (
        "Linux at 276856db91b4: arch/arm64/boot/dts/rockchip/rk3588-opp.dtsi (steps and voltages), GPL-2.0+ OR MIT"
    ),
    "rk3588_thermal": (
        "Linux: arch/arm64/boot/dts/rockchip/rk3588-base.dtsi (85 and 115 degrees), GPL-2.0+ OR MIT"
    ),
    "orangepi_product": "Product page of the Orange Pi 5 at orangepi.org (memory, chip, 5 V supply)",
    "tegra210_thermal": (
        "Linux at d51b9d81f788: arch/arm64/boot/dts/nvidia/tegra210.dtsi (98.5 and 102.5 degrees, GPU 100), GPL-2.0"
    ),
    "jetson_nano_guide": (
        "NVIDIA Jetson Linux Developer Guide, Power Management for Jetson Nano (10 W mode: four cores to 1,479 MHz, "
        "GPU to 921.6 MHz), docs.nvidia.com/jetson; steps as the board's kernel lists them"
    ),
    "jetson_orin_guide": (
        "NVIDIA Jetson Linux Developer Guide, Jetson Orin Nano series (15 W mode: six cores to 1,510.4 MHz, GPU to "
        "624.75 MHz), docs.nvidia.com/jetson; steps as the board's kernel lists them"
    ),
}


def of_phone(
    name: str, profile: Mapping[str, str] | None, policy: Mapping[str, str] | None, wiki: str
) -> dict[str, str]:
    """Return all references that a phone's figures may name."""
    texts = dict(PHONES)
    texts["specification"] = (
        f"LineageOS wiki, _data/devices/{wiki or name}.yml of LineageOS/lineage_wiki at {WIKI_COMMIT[:7]} (facts)"
    )
    if profile is not None:
        texts["power_profile"] = (
            f"{profile['repo']} at {profile['commit'][:12]}: {profile['path']}, Apache-2.0; values as {ANDROID_VALUES} defines them"
        )
    if policy is not None:
        texts["thermal_policy"] = f"{policy['repo']} at {policy['commit'][:12]}: {policy['path']}, Apache-2.0"
    return texts
