import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.adapters.virtual_device import DeviceFileError, FileDevice, VirtualBattery, VirtualDevice
from trimtab.domain.device import DeviceState
from trimtab.domain.quantities import NS_PER_S
from trimtab.testing import ManualClock

Write = Callable[[str, str], Path]


def rewrite(path: Path, text: str) -> None:
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_json_and_yaml_files(write: Write) -> None:
    state = FileDevice(write("d.yaml", "battery_frac: 0.3\ncharging: true\ntemperature_mc: null\n")).read()
    assert (state.battery_frac, state.charging, state.temperature_mc) == (0.3, True, None)
    assert dict(state.sources) == dict.fromkeys(("battery", "charging", "temperature"), "virtual:d.yaml")
    state = FileDevice(write("d.json", '{"memory_available_bytes": 1048576, "cpu_load_frac": 1}')).read()
    assert (state.memory_available_bytes, state.cpu_load_frac) == (1 << 20, 1.0)


def test_other_apps_take_memory(write: Write) -> None:
    total, others = 8 << 30, 1 << 30
    device = FileDevice(
        write("d.json", f'{{"memory_total_bytes": {total}, "memory_others_bytes": {others}}}')
    )
    left = device.read().memory_available_bytes
    assert left is not None
    assert 0 < left < total - others  # this process holds something too
    crowded = FileDevice(
        write("e.json", f'{{"memory_total_bytes": {total}, "memory_others_bytes": {total}}}')
    )
    assert crowded.read().memory_available_bytes == 0


def test_a_file_is_read_again_when_it_changes(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write("d.yaml", "battery_frac: 0.3")
    device = FileDevice(path)
    rewrite(path, "battery_frac: 0.2")
    assert device.read().battery_frac == 0.2
    with caplog.at_level(logging.WARNING):
        rewrite(path, "battery_frac: 7")
        assert device.read().battery_frac == 0.2
        assert device.read().battery_frac == 0.2
        path.unlink()
        assert device.read().battery_frac == 0.2
        assert device.read().battery_frac == 0.2
    assert len(caplog.records) == 2
    assert "battery_frac: 7 is not within" in caplog.text
    assert str(path) in caplog.text
    path.write_text("battery_frac: 0.1")
    assert device.read().battery_frac == 0.1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memory_others_bytes: 5", ["memory_others_bytes", "needs memory_total_bytes"]),
        ("memory_total_bytes: 9\nmemory_others_bytes: x", ["memory_others_bytes", "number of bytes"]),
        ("battery: 0.5", ["battery: unknown field", "battery_frac"]),
        ("battery_frac: half", ["battery_frac", "float"]),
        ("battery_frac: -0.1", ["battery_frac", "0.0..1.0"]),
        ("cpu_load_frac: .nan", ["cpu_load_frac", "nan"]),
        ("local_time_s: 86400", ["local_time_s"]),
        ("sources: [[a, b]]", ["sources"]),
        ("[1, 2]", ["mapping"]),
        ("a: [", ["cannot be read"]),
        ("#" * 70_000, ["larger"]),
    ],
)
def test_wrong_files_are_named(write: Write, text: str, words: list[str]) -> None:
    with pytest.raises(DeviceFileError) as caught:
        FileDevice(write("bad.yaml", text))
    for word in ["bad.yaml", *words]:
        assert word in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceFileError, match=r"none\.yaml"):
        FileDevice(tmp_path / "none.yaml")


def test_set_and_clear() -> None:
    device = VirtualDevice(battery_frac=0.5)
    device.set(temperature_mc=70_000)
    assert (device.read().battery_frac, device.read().temperature_mc) == (0.5, 70_000)
    with pytest.raises(DeviceFileError, match="nonsense"):
        device.set(nonsense=1)
    assert device.read().battery_frac == 0.5
    device.clear()
    assert device.read() == DeviceState()


def test_a_battery_drains() -> None:
    clock = ManualClock()
    battery = VirtualBattery(capacity_j=100.0, level_frac=0.5, background_mw=1000.0, clock=clock)
    clock.advance(10 * NS_PER_S)
    assert battery.left_j == pytest.approx(40.0)
    battery.draw(15e6)
    state = battery.read()
    assert state.battery_frac == pytest.approx(0.25)
    assert state.battery_capacity_j == 100.0
    assert not state.charging
    clock.advance(1000 * NS_PER_S)
    battery.draw(5.0)
    assert battery.level_frac == 0.0
    battery.set_level(2.0)
    assert battery.level_frac == 1.0


@pytest.mark.parametrize(("capacity_j", "level", "background_mw"), [(0, 0.5, 1), (1, 1.5, 1), (1, 0.5, -1)])
def test_no_such_battery(capacity_j: float, level: float, background_mw: float) -> None:
    with pytest.raises(ValueError, match="no such battery"):
        VirtualBattery(capacity_j, level, background_mw, ManualClock())
