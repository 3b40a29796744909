"""The fakes and the real adapters pass the same suites."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.adapters.battery_drain import BatteryDrain
from trimtab.adapters.clock import MonotonicClock
from trimtab.adapters.device import system_sensors
from trimtab.adapters.energy import PowerModel, choose_meter
from trimtab.adapters.family_store import FolderStore
from trimtab.adapters.journal_reader import JournalReader
from trimtab.adapters.onnx_runtime import OnnxRuntime
from trimtab.adapters.psutil_sensors import PsutilSensors
from trimtab.adapters.sqlite_journal import SqliteJournal
from trimtab.adapters.sysfs import SysfsSensors
from trimtab.adapters.virtual_device import VirtualBattery, VirtualDevice
from trimtab.adapters.watched_policy import WatchedPolicy
from trimtab.core.events import StageFinished, TimerFired
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.ports import (
    Array,
    DeviceSensors,
    EnergyMeter,
    Entry,
    Journal,
    PolicySource,
    Runtime,
    StoredFamily,
)
from trimtab.testing import (
    ClockConformance,
    FakeMeter,
    FakePolicySource,
    FakeRuntime,
    FakeSensors,
    FakeStore,
    JournalConformance,
    ManualClock,
    MemoryJournal,
    MeterConformance,
    PolicySourceConformance,
    RecordingObserver,
    RuntimeConformance,
    SensorsConformance,
    StoreConformance,
    tiny_family,
    tiny_processors,
)


@pytest.mark.parametrize("kind", ["fake", "onnx", "onnx on a gang"])
def test_runtimes(kind: str, stored: StoredFamily, batch: dict[str, Array]) -> None:
    def make() -> Runtime:
        return FakeRuntime(inputs=stored.family.inputs) if kind == "fake" else OnnxRuntime()

    processor = tiny_processors()[2 if "gang" in kind else 0]
    suite = RuntimeConformance(make, stored, batch, processor)
    assert len(list(suite.checks())) >= 8
    suite.check_all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: FakeSensors(DeviceState(battery_frac=0.5, memory_available_bytes=1)),
        FakeSensors,
        system_sensors,
        PsutilSensors,
        SysfsSensors,
        lambda: system_sensors([VirtualDevice(battery_frac=0.2, temperature_mc=40_000)]),
        lambda: VirtualBattery(100.0, 0.5, 10.0, ManualClock()),
    ],
)
def test_sensors(make: Callable[[], DeviceSensors]) -> None:
    SensorsConformance(make).check_all()


@pytest.mark.parametrize("make", [FakeMeter, PowerModel, choose_meter])
@pytest.mark.parametrize("processor", [*tiny_processors(), Processor("gpu:cuda", "gpu", (), 1)])
def test_meters(make: Callable[[], EnergyMeter], processor: Processor) -> None:
    MeterConformance(make, processor).check_all()


def test_stores(stored: StoredFamily) -> None:
    StoreConformance(lambda: FolderStore([stored.folder.parent])).check_all()
    StoreConformance(
        lambda: FakeStore([stored, StoredFamily(tiny_family("a"), Path())]), on_disk=False
    ).check_all()


def test_journals(tmp_path: Path) -> None:
    made = 0

    def make(checkpoint_every: int) -> Journal:
        nonlocal made
        made += 1
        return SqliteJournal(tmp_path / f"{made}.db", checkpoint_every=checkpoint_every)

    def read(journal: Journal) -> Sequence[Entry]:
        assert isinstance(journal, SqliteJournal)
        with JournalReader(journal.path) as reader:
            return tuple(reader.entries(journal.session))

    JournalConformance(make, read).check_all()

    def entries(journal: Journal) -> Sequence[Entry]:
        assert isinstance(journal, MemoryJournal)
        return journal.entries

    JournalConformance(lambda every: MemoryJournal(checkpoint_every=every), entries).check_all()


def test_policy_sources() -> None:
    def fake(source: PolicySource) -> FakePolicySource:
        assert isinstance(source, FakePolicySource)
        return source

    PolicySourceConformance(
        FakePolicySource,
        change=lambda source: fake(source).replace(Policy("another")),
        spoil=lambda source: fake(source).fail(ValueError("spoilt")),
    ).check_all()


def test_the_watched_policy(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "policies"
    made = 0

    def write(path: Path, text: str) -> None:
        before = path.stat().st_mtime_ns if path.exists() else 10**18
        path.write_text(text)
        os.utime(path, ns=(before + 10**9, before + 10**9))  # long ago: it is whole

    def make() -> PolicySource:
        nonlocal made
        made += 1
        path = tmp_path / f"{made}.yaml"
        write(path, (shipped / "balanced.yaml").read_text())
        return WatchedPolicy(path)

    PolicySourceConformance(
        make,
        change=lambda source: write(Path(source.source), (shipped / "battery-saver.yaml").read_text()),
        spoil=lambda source: write(Path(source.source), "name: [unfinished"),
    ).check_all()


def test_a_virtual_battery_pays_for_runs() -> None:
    battery = VirtualBattery(1.0, 1.0, 0.0, ManualClock())
    drain = BatteryDrain(battery)
    drain.saw(0, TimerFired(), ())
    drain.saw(0, StageFinished("r", 0, 1, 250_000.0, 0.9), ())
    assert battery.level_frac == pytest.approx(0.75)


def test_clocks() -> None:
    ClockConformance(MonotonicClock).check_all()
    ClockConformance(ManualClock).check_all()
    clock = ManualClock(5)
    assert clock.advance(3) == clock.now_ns() == 8
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_a_suite_notices_what_is_wrong(stored: StoredFamily, batch: dict[str, Array]) -> None:
    class Careless(FakeRuntime):
        def evict(self, task: str, variant: str, pool: str) -> None:
            """Keep it all the same."""

    suite = RuntimeConformance(Careless, stored, batch)
    with pytest.raises(AssertionError, match="expected a RuntimeFailure"):
        suite.check_evict_and_close_drop()

    class Nameless(FakeSensors):
        def read(self) -> DeviceState:
            return replace(super().read(), sources=())

    with pytest.raises(AssertionError, match="no source"):
        SensorsConformance(lambda: Nameless(DeviceState(battery_frac=0.1))).check_all()


def test_fakes_do_as_told(stored: StoredFamily, batch: dict[str, Array]) -> None:
    slept: list[float] = []
    runtime = FakeRuntime(sleep=slept.append)
    cpu, variant = tiny_processors()[0], stored.family.variants[0]
    runtime.load_failures["small"] = "no luck"
    runtime.run_failures["large"] = "broke"
    runtime.load("tiny", variant, stored.folder, cpu)
    with pytest.raises(Exception, match="broke"):
        runtime.run("tiny", "large", cpu, 0, batch)
    runtime.run_failures.clear()
    runtime.latency_ns["large", 0] = 5_000_000
    assert runtime.run("tiny", "large", cpu, 0, batch)["logits"].shape == (1, 3)
    assert slept[-1] == pytest.approx(0.005)
    with pytest.raises(Exception, match="no luck"):
        runtime.load("tiny", stored.family.variants[1], stored.folder, cpu)
    assert runtime.loaded == {("tiny", "large", cpu.pool)}
    assert runtime.calls[0] == ("load", "tiny", "large", cpu.pool)
    sensors = FakeSensors()
    sensors.set(battery_frac=0.4)
    assert sensors.read().battery_frac == 0.4
    assert sensors.reads == 1
    observer = RecordingObserver()
    assert observer.seen == []
