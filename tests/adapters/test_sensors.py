import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from trimtab.adapters.cgroup import Cgroup, CgroupSensors
from trimtab.adapters.device import CompositeSensors, changed, local_time_s, system_sensors
from trimtab.adapters.pressure import PressureSensors, some_avg10
from trimtab.adapters.psutil_sensors import PsutilSensors
from trimtab.adapters.sysfs import Batteries, SysfsSensors, parse_cores, read_int, temperature_mc
from trimtab.adapters.virtual_device import VirtualDevice
from trimtab.domain.device import DeviceState
from trimtab.testing import FakeSensors

Write = Callable[[str, str], Path]


def supply(write: Write, name: str = "BAT0", **files: object) -> Path:
    files = {"type": "Battery", **files}
    for file, value in files.items():
        path = write(f"sys/class/power_supply/{name}/{file}", f"{value}\n")
    return path.parents[3]


def test_battery_in_energy_units(write: Write) -> None:
    sysfs = supply(
        write,
        status="Discharging",
        capacity=48,
        energy_full=50_000_000,
        energy_now=24_600_000,
        power_now=7_500_000,
    )
    reading = Batteries(sysfs).read()
    assert reading is not None
    assert reading.level_frac == pytest.approx(0.492)
    assert reading.capacity_j == pytest.approx(180_000)
    assert reading.discharge_mw == pytest.approx(7500)
    assert not reading.plugged
    state = SysfsSensors(sysfs).read()
    assert dict(state.sources) == dict.fromkeys(("battery", "battery_capacity", "charging"), "sysfs:BAT0")


def test_battery_in_charge_units(write: Write) -> None:
    sysfs = supply(
        write,
        status="Discharging",
        charge_full=4_000_000,
        charge_now=1_000_000,
        voltage_min_design=3_800_000,
        voltage_now=4_000_000,
        current_now=-500_000,
    )
    reading = Batteries(sysfs).read()
    assert reading is not None
    assert reading.level_frac == pytest.approx(0.25)
    assert reading.capacity_j == pytest.approx(4.0 * 3600 * 3.8)
    assert reading.discharge_mw == pytest.approx(2000)


def test_two_batteries_and_a_mouse(write: Write) -> None:
    supply(write, "BAT0", status="Full", energy_full=30_000_000, energy_now=30_000_000)
    supply(write, "BAT1", status="Discharging", energy_full=10_000_000, energy_now=0)
    sysfs = supply(write, "hidpp_battery_0", scope="Device", capacity=3)
    reading = Batteries(sysfs).read()
    assert reading is not None
    assert reading.names == "BAT0+BAT1"
    assert reading.level_frac == pytest.approx(0.75)
    assert reading.plugged


def test_percent_only_and_mains(write: Write) -> None:
    sysfs = supply(write, capacity=120, status="Unknown")
    state = SysfsSensors(sysfs).read()
    assert (state.battery_frac, state.battery_capacity_j, state.charging) == (1.0, None, False)
    supply(write, "AC", type="Mains", online=1)
    assert SysfsSensors(sysfs).read().charging
    supply(write, "BAT1", status="Discharging")
    reading = Batteries(sysfs).read()
    assert reading is not None
    assert (reading.level_frac, reading.discharge_mw) == (1.0, None)


def test_a_battery_that_tells_nothing(write: Write) -> None:
    sysfs = supply(write, status="Discharging")
    assert SysfsSensors(sysfs).read() == DeviceState()
    assert SysfsSensors(sysfs / "nowhere").read() == DeviceState()


def test_thermal_zones(write: Write) -> None:
    sysfs = write("sys/class/thermal/thermal_zone0/type", "battery").parents[3]
    write("sys/class/thermal/thermal_zone0/temp", "90000")
    assert temperature_mc(sysfs) == (90_000, "battery")
    write("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp")
    write("sys/class/thermal/thermal_zone1/temp", "55000")
    write("sys/class/thermal/thermal_zone2/type", "cpu-1")
    write("sys/class/thermal/thermal_zone2/temp", "999999")
    assert temperature_mc(sysfs) == (55_000, "x86_pkg_temp")
    state = SysfsSensors(sysfs).read()
    assert state.temperature_mc == 55_000
    assert state.sources == (("temperature", "sysfs:x86_pkg_temp"),)


def test_small_files(write: Write, tmp_path: Path) -> None:
    assert parse_cores("0-2,5\n") == (0, 1, 2, 5)
    assert parse_cores(None) == parse_cores("x") == ()
    assert read_int(write("n", "abc")) is None
    assert read_int(tmp_path / "none") is None


class Times(NamedTuple):
    user: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0


class Library:
    """Stands in for psutil."""

    def __init__(self) -> None:
        self.times = Times()
        self.battery: Any = None
        self.chips: dict[str, list[Any]] = {}

    def cpu_times(self) -> Times:
        return self.times

    def virtual_memory(self) -> Any:
        return SimpleNamespace(available=1000, total=4000)

    def sensors_battery(self) -> Any:
        return self.battery

    def sensors_temperatures(self) -> dict[str, list[Any]]:
        return self.chips


def test_psutil() -> None:
    library = Library()
    sensors = PsutilSensors(library)
    assert sensors.read().cpu_load_frac is None
    library.times = Times(user=3.0, idle=6.0, iowait=1.0)
    library.battery = SimpleNamespace(percent=55.5, power_plugged=True)
    library.chips = {"nvme": [SimpleNamespace(current=80.0)], "coretemp": [SimpleNamespace(current=61.25)]}
    state = sensors.read()
    assert state.cpu_load_frac == pytest.approx(0.3)
    assert (state.battery_frac, state.charging, state.temperature_mc) == (0.555, True, 61_250)
    assert (state.memory_available_bytes, state.memory_total_bytes) == (1000, 4000)
    assert sensors.read().cpu_load_frac == pytest.approx(0.3)
    library.chips = {"odd": [SimpleNamespace(current=None)]}
    assert sensors.read().temperature_mc is None


def test_psutil_without_sensors() -> None:
    library = SimpleNamespace(cpu_times=Library().cpu_times, virtual_memory=Library().virtual_memory)
    state = PsutilSensors(library).read()
    assert (state.battery_frac, state.temperature_mc) == (None, None)


def cgroup(write: Write, membership: str, **files: str) -> Cgroup:
    for name, text in files.items():
        write("cg/" + name.replace("__", "/").replace("_dot_", "."), text)
    path = write("membership", membership)
    return Cgroup(path.parent / "cg", path)


def test_cgroup_2(write: Write) -> None:
    group = cgroup(
        write,
        "0::/app.slice/trimtab\n",
        cgroup_dot_controllers="cpu memory",
        app_dot_slice__memory_dot_max="1000000",
        app_dot_slice__memory_dot_current="900000",
        app_dot_slice__cpu_dot_max="150000 100000",
        app_dot_slice__trimtab__memory_dot_max="max",
        app_dot_slice__trimtab__memory_dot_current="5",
        app_dot_slice__trimtab__cpu_dot_max="max 100000",
    )
    assert group.cpu_quota() == 1.5
    assert group.memory() == (1_000_000, 100_000)
    write("cg/app.slice/memory.stat", "anon 1\ninactive_file 300000\n")
    assert group.memory() == (1_000_000, 400_000)
    state = CgroupSensors(group, lambda: (50_000, 8_000_000)).read()
    assert (state.memory_available_bytes, state.memory_total_bytes) == (50_000, 1_000_000)
    assert dict(state.sources)["memory"] == "cgroup"


def test_cgroup_1(write: Write) -> None:
    group = cgroup(
        write,
        "4:memory:/box/a\n3:cpu,cpuacct:/box\n1:name=systemd:/\n",
        memory__box__a__memory_dot_limit_in_bytes="2000",
        memory__box__a__memory_dot_usage_in_bytes="2500",
        memory__memory_dot_limit_in_bytes=str(2**63 - 4096),
        memory__memory_dot_usage_in_bytes="1",
        cpu__box__cpu_dot_cfs_quota_us="50000",
        cpu__box__cpu_dot_cfs_period_us="100000",
        cpu__cpu_dot_cfs_quota_us="-1",
    )
    assert group.memory() == (2000, 0)
    assert group.cpu_quota() == 0.5


def test_cgroup_oddities(write: Write, tmp_path: Path) -> None:
    assert Cgroup(tmp_path, tmp_path / "none").memory() is None
    group = cgroup(write, "0::/../../elsewhere\nnonsense\n", cgroup_dot_controllers="")
    write("cg/cpu.max", "x 0")
    assert group.cpu_quota() is None
    write("cg/cpu.max", "5 0")
    assert group.cpu_quota() is None
    assert group.memory() is None
    assert CgroupSensors(group, lambda: (1, 1)).read() == DeviceState()


def test_memory_high_is_a_limit_too(write: Write) -> None:
    group = cgroup(
        write,
        "0::/a\n",
        cgroup_dot_controllers="memory",
        a__memory_dot_max="1000",
        a__memory_dot_high="600",
        a__memory_dot_current="500",
    )
    assert group.memory() == (600, 100)


def test_memory_pressure_of_the_own_group_else_of_the_machine(write: Write, tmp_path: Path) -> None:
    some = "some avg10={} avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n"
    machine = write("pressure", some.format("1.00"))
    alone = PressureSensors(Cgroup(tmp_path / "none", tmp_path / "none"), machine).read()
    assert (alone.memory_pressure_frac, alone.sources) == (0.01, (("memory_pressure", "psi"),))
    group = cgroup(
        write, "0::/a\n", cgroup_dot_controllers="memory", a__memory_dot_pressure=some.format("12.50")
    )
    own = PressureSensors(group, machine).read()
    assert (own.memory_pressure_frac, own.sources) == (0.125, (("memory_pressure", "cgroup:psi"),))
    silent = PressureSensors(Cgroup(tmp_path / "none", tmp_path / "none"), tmp_path / "none")
    assert silent.read() == DeviceState()
    assert some_avg10("some avg10=much") is None


def test_the_first_sensor_that_tells_gives_the_figure() -> None:
    first = VirtualDevice(battery_frac=0.2, charging=True)
    second = FakeSensors(
        DeviceState(battery_frac=0.9, battery_capacity_j=100.0, memory_available_bytes=1 << 30)
    )
    state = CompositeSensors([first, second], lambda: 77).read()
    assert (state.battery_frac, state.charging, state.battery_capacity_j) == (0.2, True, 100.0)
    assert state.memory_available_bytes == 1 << 30
    assert state.local_time_s == 77
    assert dict(state.sources) == {
        "battery": "virtual",
        "charging": "virtual",
        "battery_capacity": "fake",
        "memory": "fake",
    }


def test_a_sensor_that_breaks_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        broken = True

        def read(self) -> DeviceState:
            if self.broken:
                raise OSError("unplugged")
            return DeviceState(temperature_mc=40_000, sources=(("temperature", "back"),))

    broken = Broken()
    sensors = CompositeSensors([broken, FakeSensors(DeviceState(battery_frac=0.5))])
    with caplog.at_level(logging.WARNING):
        assert sensors.read().battery_frac == 0.5
        assert sensors.read().battery_frac == 0.5
    assert caplog.text.count("unplugged") == 1
    broken.broken = False
    assert sensors.read().temperature_mc == 40_000


def test_noise_is_no_change() -> None:
    fake = FakeSensors()
    sensors = CompositeSensors([fake], lambda: 0)
    told = set()
    for wobble in range(20):
        fake.set(
            battery_frac=0.5 + 0.0004 * (wobble % 2),
            memory_available_bytes=(1 << 30) + 400_000 * (wobble % 2),
            cpu_load_frac=0.5 + 0.02 * (wobble % 3),
            temperature_mc=50_000 + 240 * (wobble % 2),
        )
        told.add(sensors.read())
    assert len(told) == 1
    fake.set(battery_frac=0.499, cpu_load_frac=0.61, temperature_mc=50_700, memory_available_bytes=None)
    state = sensors.read()
    assert (state.battery_frac, state.cpu_load_frac, state.temperature_mc) == (0.499, 0.6, 50_500)
    assert state.memory_available_bytes is None


def test_what_counts_as_a_change() -> None:
    base = DeviceState(battery_frac=0.5, local_time_s=100)
    assert changed(None, base)
    assert not changed(base, DeviceState(battery_frac=0.5, local_time_s=130))
    assert changed(base, DeviceState(battery_frac=0.5, local_time_s=160))
    assert changed(base, DeviceState(battery_frac=0.4, local_time_s=100))
    pressed = DeviceState(memory_pressure_frac=0.2)
    assert changed(pressed, pressed), "it is told again while it lasts"


def test_this_machine() -> None:
    state = system_sensors().read()
    assert state.memory_available_bytes is not None
    assert 0 <= local_time_s() < 86_400
