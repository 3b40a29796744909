"""What every implementation of a port must do, as plain functions with plain asserts."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from trimtab.core.commands import RunStage, SetTimer
from trimtab.core.events import RequestArrived, TimerFired
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, Source
from trimtab.domain.request import Request
from trimtab.ports import (
    Array,
    Clock,
    DeviceSensors,
    EnergyMeter,
    Entry,
    Journal,
    PolicySource,
    Runtime,
    RuntimeFailure,
    StoredFamily,
    VariantStore,
)
from trimtab.testing.fakes import FIGURES

CPU: Final = Processor("cpu:0", "cpu", (0,), 1)


class Conformance:
    """Base of the suites: every method called ``check_...`` is one demand."""

    def checks(self) -> Iterator[Callable[[], None]]:
        """Yield the demands in alphabetical order."""
        for name in sorted(dir(self)):
            if name.startswith("check_") and name != "check_all":
                yield getattr(self, name)

    def check_all(self) -> None:
        """Run every demand; the first one not met raises ``AssertionError``."""
        for check in self.checks():
            check()


def _fails(action: Callable[[], object], *words: str) -> None:
    """Demand that ``action`` raises ``RuntimeFailure`` with all ``words`` in its message."""
    message = None
    try:
        action()
    except RuntimeFailure as error:
        message = str(error)
    assert message is not None, "expected a RuntimeFailure"
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"


@dataclass
class RuntimeConformance(Conformance):
    """Demands on a runtime. ``stored`` is a family it can execute, ``inputs`` a valid batch of one."""

    make: Callable[[], Runtime]
    stored: StoredFamily
    inputs: Mapping[str, Array]
    processor: Processor = CPU

    def _loaded(self) -> Runtime:
        runtime = self.make()
        for variant in self.stored.family.variants:
            runtime.load(self.stored.family.task, variant, self.stored.folder, self.processor)
        return runtime

    def _run(
        self, runtime: Runtime, variant: str, tensors: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Run all stages of a variant and return everything they gave."""
        held = dict(self.inputs if tensors is None else tensors)
        for number in range(len(self.stored.family.variant(variant).stages)):
            held.update(runtime.run(self.stored.family.task, variant, self.processor, number, held))
        return held

    def check_describes_itself(self) -> None:
        """Demand a name without spaces and a description of one line."""
        runtime = self.make()
        assert runtime.name
        assert " " not in runtime.name
        assert runtime.description
        assert "\n" not in runtime.description

    def check_load_tells_its_cost(self) -> None:
        """Demand that loading takes time and at least the artefacts' bytes, and may be repeated."""
        runtime = self.make()
        for variant in self.stored.family.variants:
            for _ in range(2):
                loaded = runtime.load(self.stored.family.task, variant, self.stored.folder, self.processor)
                assert loaded.load_ns > 0
                assert loaded.resident_bytes >= variant.artefact_bytes
            self._run(runtime, variant.name)
        runtime.close()

    def check_outputs_are_as_described(self) -> None:
        """Demand that each stage returns exactly the outputs of the manifest, the same for the same input."""
        runtime = self._loaded()
        for variant in self.stored.family.variants:
            held = dict(self.inputs)
            for number, stage in enumerate(variant.stages):
                first = runtime.run(self.stored.family.task, variant.name, self.processor, number, held)
                again = runtime.run(self.stored.family.task, variant.name, self.processor, number, held)
                assert set(first) == set(stage.outputs), f"{variant.name}[{number}] returned {sorted(first)}"
                assert all(np.array_equal(first[name], again[name]) for name in first)
                assert first[stage.logits].shape[0] == 1
                held.update(first)
        runtime.close()

    def check_unused_tensors_are_ignored(self) -> None:
        """Demand that a run takes from the mapping what it needs."""
        runtime = self._loaded()
        variant = self.stored.family.variants[0].name
        more = {**self.inputs, "nobody asked for this": np.zeros(1, np.float32)}
        assert set(self._run(runtime, variant, more)) >= set(self.inputs)
        runtime.close()

    def check_bad_inputs_are_named(self) -> None:
        """Demand that the error about a missing or misshapen input names it."""
        runtime = self._loaded()
        variant = self.stored.family.variants[0]
        name = variant.stages[0].inputs[0]
        without = {key: value for key, value in self.inputs.items() if key != name}
        _fails(lambda: self._run(runtime, variant.name, without), name)
        misshapen = {**self.inputs, name: np.zeros((1, 7, 7, 7, 7), np.float32)}
        _fails(lambda: self._run(runtime, variant.name, misshapen), name)
        self._run(runtime, variant.name)
        runtime.close()

    def check_unknown_things_fail(self) -> None:
        """Demand that running what is not there raises, and evicting it does not."""
        runtime = self._loaded()
        task, variant = self.stored.family.task, self.stored.family.variants[0]
        _fails(lambda: runtime.run(task, "nobody", self.processor, 0, self.inputs), "nobody")
        _fails(lambda: runtime.run(task, variant.name, self.processor, 99, self.inputs), "99")
        _fails(lambda: runtime.run(task, variant.name, self.processor, -1, self.inputs), "-1")
        runtime.evict(task, "nobody", self.processor.pool)
        runtime.evict("nothing", variant.name, self.processor.pool)
        self._run(runtime, variant.name)
        runtime.close()

    def check_missing_artefact_is_named(self) -> None:
        """Demand that the error about a lost file names it, and that nothing is half loaded."""
        runtime = self.make()
        task, variant = self.stored.family.task, self.stored.family.variants[-1]
        gone = replace(variant.stages[-1], artefact="gone.bin")
        broken = replace(variant, stages=(*variant.stages[:-1], gone))
        _fails(lambda: runtime.load(task, broken, self.stored.folder, self.processor), "gone.bin")
        _fails(lambda: runtime.run(task, variant.name, self.processor, 0, self.inputs))
        runtime.close()

    def check_evict_and_close_drop(self) -> None:
        """Demand that a run raises after evict or close, and works after loading again."""
        runtime = self._loaded()
        task, variant = self.stored.family.task, self.stored.family.variants[0]
        runtime.evict(task, variant.name, self.processor.pool)
        _fails(lambda: self._run(runtime, variant.name), variant.name)
        runtime.load(task, variant, self.stored.folder, self.processor)
        self._run(runtime, variant.name)
        runtime.close()
        _fails(lambda: self._run(runtime, variant.name), variant.name)

    def check_threads(self) -> None:
        """Demand right answers or ``RuntimeFailure``, nothing else, from many threads."""
        runtime = self._loaded()
        task, family = self.stored.family.task, self.stored.family
        steady, other = family.variants[0].name, family.variants[-1]
        expected = self._run(runtime, steady)
        wrong: list[str] = []

        def serve() -> None:
            for _ in range(20):
                got = self._run(runtime, steady)
                if not all(np.array_equal(got[name], expected[name]) for name in expected):
                    wrong.append("another answer under load")

        def disturb() -> None:
            for _ in range(5):
                runtime.evict(task, other.name, self.processor.pool)
                runtime.load(task, other, self.stored.folder, self.processor)

        def risk() -> None:
            for _ in range(20):
                try:
                    self._run(runtime, other.name)
                except RuntimeFailure:
                    continue

        _in_threads((serve, serve, disturb, risk), wrong)
        assert not wrong, wrong
        runtime.close()


def _in_threads(jobs: Sequence[Callable[[], None]], wrong: list[str]) -> None:
    """Run jobs at the same time; note in ``wrong`` what they raise."""

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # whatever it is, the caller reports it
            wrong.append(f"{job.__name__}: {error!r}")

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass
class ClockConformance(Conformance):
    """Demands on a clock."""

    make: Callable[[], Clock]

    def check_monotonic_integers(self) -> None:
        """Demand integers that never go back."""
        clock = self.make()
        readings = [clock.now_ns() for _ in range(100)]
        assert all(isinstance(reading, int) for reading in readings)
        assert readings == sorted(readings)


@dataclass
class SensorsConformance(Conformance):
    """Demands on sensors of the device."""

    make: Callable[[], DeviceSensors]

    def check_figures_have_sources_and_sense(self) -> None:
        """Demand that each figure told has a source and lies in its range, each once."""
        sensors = self.make()
        for _ in range(3):
            state = sensors.read()
            told = [figure for figure, _ in state.sources]
            assert len(set(told)) == len(told), f"a figure has two sources: {state.sources}"
            for figure, field in FIGURES.items():
                assert (getattr(state, field) is None) or figure in told, f"{field} has no source"
            for value in (state.battery_frac, state.cpu_load_frac, state.memory_pressure_frac):
                assert value is None or 0.0 <= value <= 1.0
            for size in (state.memory_available_bytes, state.memory_total_bytes):
                assert size is None or size >= 0
            assert 0 <= state.local_time_s < 86_400


@dataclass
class MeterConformance(Conformance):
    """Demands on an energy meter."""

    make: Callable[[], EnergyMeter]
    processor: Processor = CPU

    def check_describes_itself(self) -> None:
        """Demand one line that says what it is, and a known source."""
        meter = self.make()
        assert meter.description
        assert "\n" not in meter.description
        assert meter.source in Source

    def check_energy_grows_with_time(self) -> None:
        """Demand that no time costs nothing and twice the time twice as much."""
        meter = self.make()
        none, once, twice = (meter.run_energy(self.processor, n * NS_PER_MS) for n in (0, 1, 2))
        assert none.energy_uj == 0.0
        assert once.energy_uj > 0.0
        assert abs(twice.energy_uj - 2 * once.energy_uj) < 1e-6 * twice.energy_uj
        assert once.source in Source


@dataclass
class StoreConformance(Conformance):
    """Demands on a store; with ``on_disk`` artefacts must lie where the families say."""

    make: Callable[[], VariantStore]
    on_disk: bool = True

    def check_ordered_and_complete(self) -> None:
        """Demand families ordered by task, each once, with artefacts of the stated size."""
        families = self.make().families()
        tasks = [stored.family.task for stored in families]
        assert tasks == sorted(set(tasks))
        for stored in families:
            assert stored.family.variant(stored.family.reference)
            assert stored.family.variant(stored.family.last_resort)
            for stage in (s for v in stored.family.variants for s in v.stages):
                path = stored.folder / stage.artefact
                size = path.stat().st_size if self.on_disk else stage.artefact_bytes
                assert size == stage.artefact_bytes


@dataclass
class JournalConformance(Conformance):
    """Demands on a journal. ``make`` takes ``checkpoint_every``; ``read`` returns its flushed entries."""

    make: Callable[[int], Journal]
    read: Callable[[Journal], Sequence[Entry]]

    def check_keeps_order(self) -> None:
        """Demand that events and commands come back as they went in, numbered upwards."""
        journal = self.make(1000)
        expected: list[tuple[int, object]] = []
        for number in range(50):
            event = RequestArrived(Request(f"r{number}", "tiny"))
            commands = [RunStage(f"r{number}", "tiny", "small", "cpu:0", 0), SetTimer(number)][: number % 3]
            journal.append(number, event, commands)
            expected += [(number, item) for item in (event, *commands)]
        journal.flush()
        entries = self.read(journal)
        assert [(entry.at_ns, entry.item) for entry in entries] == expected
        numbers = [entry.seq for entry in entries]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        journal.close()

    def check_asks_for_checkpoints(self) -> None:
        """Demand that it wants one after so many rows, and no longer once it got it."""
        journal = self.make(10)
        assert not journal.wants_checkpoint()
        for number in range(10):
            journal.append(number, TimerFired(), ())
        assert journal.wants_checkpoint()
        journal.checkpoint(11, b"{}")
        assert not journal.wants_checkpoint()
        journal.flush()
        journal.close()

    def check_refuses_after_close(self) -> None:
        """Demand that closing twice is fine and appending after it is not."""
        journal = self.make(10)
        journal.append(0, TimerFired(), ())
        journal.close()
        journal.close()
        try:
            journal.append(1, TimerFired(), ())
        except Exception:  # any error will do
            return
        raise AssertionError("a closed journal took an entry")


@dataclass
class PolicySourceConformance(Conformance):
    """Demands on a policy source. ``change`` gives it another valid policy, ``spoil`` an invalid one."""

    make: Callable[[], PolicySource]
    change: Callable[[PolicySource], None]
    spoil: Callable[[PolicySource], None]

    def check_describes_itself(self) -> None:
        """Demand a name for the operator and the text of what was loaded."""
        source = self.make()
        source.load()
        assert source.source
        assert isinstance(source.text, str)

    def check_polls_changes_once(self) -> None:
        """Demand that a change is found by one poll, and that ``force`` finds what has not changed."""
        source = self.make()
        before = source.load()
        assert source.poll() is None
        self.change(source)
        found = source.poll()
        assert found is not None
        assert found != before
        assert source.poll() is None
        assert source.poll(force=True) == found

    def check_keeps_the_last_good(self) -> None:
        """Demand one error per invalid version; the last good text stays."""
        source = self.make()
        source.load()
        text = source.text
        self.spoil(source)
        raised = False
        try:
            source.poll()
        except Exception:  # whatever the source's error type is
            raised = True
        assert raised, "an invalid policy was accepted"
        assert source.text == text
        assert source.poll() is None
