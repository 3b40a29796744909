"""Fakes of every port: real behaviour, no outside world, everything settable."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.core.commands import Command
from trimtab.core.events import Event
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Dataset, ExitRule, Family, Stage, TensorSpec, Variant
from trimtab.domain.policy import Policy
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, Source, energy_uj
from trimtab.ports import (
    Array,
    EnergyReading,
    Entry,
    Loaded,
    RuntimeFailure,
    StoredFamily,
    Tensors,
)

FIGURES = {
    "battery": "battery_frac",
    "battery_capacity": "battery_capacity_j",
    "memory": "memory_available_bytes",
    "memory_total": "memory_total_bytes",
    "memory_pressure": "memory_pressure_frac",
    "cpu_load": "cpu_load_frac",
    "temperature": "temperature_mc",
}


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Return the time set."""
        return self._now_ns

    def thread_cpu_ns(self) -> int:
        """Return the same: here nobody takes the processor away."""
        return self.now_ns()

    def advance(self, ns: int) -> int:
        """Move on by ``ns`` nanoseconds and return the new time; raise ``ValueError`` for going back."""
        if ns < 0:
            raise ValueError("a monotonic clock cannot go back")
        self._now_ns += ns
        return self._now_ns


class FakeSensors:
    """A device whose figures are set by the test; ``None`` stands for a lost sensor."""

    def __init__(self, state: DeviceState | None = None) -> None:
        self.reads = 0
        self._state = _sourced(state or DeviceState())

    def set(self, **fields: Any) -> None:
        """Change fields of the state."""
        self._state = _sourced(replace(self._state, **fields))

    def read(self) -> DeviceState:
        """Return the state set."""
        self.reads += 1
        return self._state


def _sourced(state: DeviceState) -> DeviceState:
    told = [figure for figure, field in FIGURES.items() if getattr(state, field) is not None]
    if "battery" in told:
        told.append("charging")
    return replace(state, sources=tuple((figure, "fake") for figure in sorted(told)))


class FakeMeter:
    """A meter of constant power above idle per thread."""

    def __init__(self, active_mw: float = 1000.0, source: Source = Source.ASSUMED) -> None:
        self.active_mw = active_mw
        self._source = source

    @property
    def description(self) -> str:
        """Return the constant."""
        return f"fake meter, {self.active_mw:g} mW per thread"

    @property
    def source(self) -> Source:
        """Return the source it was made with."""
        return self._source

    def run_energy(self, processor: Processor, run_ns: int) -> EnergyReading:
        """Return constant power times ``run_ns``."""
        return EnergyReading(energy_uj(self.active_mw * processor.threads, run_ns), self._source)


class FakeRuntime:
    """Executes nothing: answers with logits set per (variant, stage), after a latency set the same way.

    ``load_failures`` and ``run_failures`` map variant names to messages. ``latency_ns`` and ``logits`` are by
    (variant, stage). ``calls`` records what was asked. Artefacts are looked for only in folders that exist.
    """

    def __init__(
        self,
        name: str = "onnxruntime",
        inputs: Iterable[TensorSpec] = (),
        classes: int = 3,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._inputs = {spec.name: spec for spec in inputs}
        self._classes = classes
        self._sleep = sleep
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str, str], tuple[Variant, Loaded]] = {}
        self.load_ns: dict[str, int] = {}
        self.resident_bytes: dict[str, int] = {}
        self.latency_ns: dict[tuple[str, int], int] = {}
        self.logits: dict[tuple[str, int], Array] = {}
        self.load_failures: dict[str, str] = {}
        self.run_failures: dict[str, str] = {}
        self.calls: list[tuple[str, ...]] = []

    @property
    def name(self) -> str:
        """Return the name it was made with."""
        return self._name

    @property
    def description(self) -> str:
        """Return that it is a fake."""
        return f"fake runtime {self._name}"

    @property
    def loaded(self) -> frozenset[tuple[str, str, str]]:
        """Return (task, variant, pool) of all that is loaded."""
        return frozenset(self._loaded)

    def load(self, task: str, variant: Variant, folder: Path, processor: Processor) -> Loaded:
        """Pretend to load; raise ``RuntimeFailure`` if told to, or when an artefact is missing."""
        self.calls.append(("load", task, variant.name, processor.pool))
        if variant.name in self.load_failures:
            raise RuntimeFailure(self.load_failures[variant.name])
        for stage in variant.stages:
            if folder.is_dir() and not (folder / stage.artefact).is_file():
                raise RuntimeFailure(f"{folder / stage.artefact}: no such artefact")
        load_ns = self.load_ns.get(variant.name, NS_PER_MS)
        self._sleep(load_ns / NS_PER_S)
        size = self.resident_bytes.get(variant.name, 2 * variant.artefact_bytes)
        loaded = Loaded(load_ns, max(size, variant.artefact_bytes))
        with self._lock:
            self._loaded[task, variant.name, processor.pool] = (variant, loaded)
        return loaded

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        """Answer with the logits set, or raise ``RuntimeFailure`` for a wrong input or if told to."""
        self.calls.append(("run", task, variant, processor.name, str(stage)))
        held = self._loaded.get((task, variant, processor.pool))
        if held is None:
            raise RuntimeFailure(f"{task}/{variant} is not loaded in {processor.pool}")
        if not 0 <= stage < len(held[0].stages):
            raise RuntimeFailure(f"{task}/{variant} has no stage {stage}")
        if variant in self.run_failures:
            raise RuntimeFailure(self.run_failures[variant])
        described = held[0].stages[stage]
        self._check(described, tensors)
        self._sleep(self.latency_ns.get((variant, stage), 0) / NS_PER_S)
        default = np.arange(self._classes, dtype=np.float32)[np.newaxis]
        logits = self.logits.get((variant, stage), default)
        hidden = np.zeros((1, 1), np.float32)
        return {name: logits if name == described.logits else hidden for name in described.outputs}

    def _check(self, stage: Stage, tensors: Tensors) -> None:
        for name in stage.inputs:
            if name not in tensors:
                raise RuntimeFailure(f"{stage.artefact}: input {name!r} is missing")
            spec, shape = self._inputs.get(name), tensors[name].shape
            if spec is not None and not _fits(shape, spec.shape):
                raise RuntimeFailure(f"{stage.artefact}: input {name!r} has shape {shape}, not {spec.shape}")

    def evict(self, task: str, variant: str, pool: str) -> None:
        """Forget a variant."""
        self.calls.append(("evict", task, variant, pool))
        with self._lock:
            self._loaded.pop((task, variant, pool), None)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._loaded.clear()


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want < 0 or got == want for got, want in zip(shape, expected, strict=True)
    )


class FakeStore:
    """Families held in memory."""

    def __init__(self, families: Iterable[StoredFamily] = ()) -> None:
        self._families = tuple(sorted(families, key=lambda stored: stored.family.task))

    def families(self) -> Sequence[StoredFamily]:
        """Return them, ordered by task."""
        return self._families


class FakePolicySource:
    """A policy changed by calling ``replace``; ``fail`` makes the next poll raise, as a bad version would."""

    def __init__(self, policy: Policy | None = None, text: str = "name: fake\n") -> None:
        self._policy = policy or Policy("fake")
        self._text = text
        self._fresh = False
        self._error: Exception | None = None

    @property
    def source(self) -> str:
        """Return that it is a fake."""
        return "fake"

    @property
    def text(self) -> str:
        """Return the text set."""
        return self._text

    def replace(self, policy: Policy, text: str = "") -> None:
        """Make ``policy`` the version the next poll finds."""
        self._policy, self._fresh, self._error = policy, True, None
        self._text = text or self._text

    def fail(self, error: Exception) -> None:
        """Make the next poll raise ``error`` once; the last good policy stays."""
        self._error = error

    def load(self) -> Policy:
        """Return the policy set."""
        self._fresh = False
        return self._policy

    def poll(self, force: bool = False) -> Policy | None:
        """Return the policy if it is new (or ``force``); raise what ``fail`` was given, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        fresh, self._fresh = self._fresh or force, False
        return self._policy if fresh else None


class MemoryJournal:
    """A journal in a list; ``checkpoints`` are (sequence number, time, state)."""

    def __init__(self, session: int = 1, checkpoint_every: int = 2000) -> None:
        self._session = session
        self._checkpoint_every = checkpoint_every
        self._since_checkpoint = 0
        self._seq = 0
        self.closed = False
        self.entries: list[Entry] = []
        self.checkpoints: list[tuple[int, int, bytes]] = []

    @property
    def session(self) -> int:
        """Return the number it was made with."""
        return self._session

    def append(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Record an event and its commands; raise ``ValueError`` once closed."""
        self._refuse_closed()
        items: tuple[Event | Command, ...] = (event, *commands)
        for item in items:
            self._seq += 1
            self.entries.append(Entry(self._seq, at_ns, item))
        self._since_checkpoint += 1 + len(commands)

    def wants_checkpoint(self) -> bool:
        """Return whether enough was recorded since the last checkpoint."""
        return self._since_checkpoint >= self._checkpoint_every

    def checkpoint(self, at_ns: int, state: bytes) -> None:
        """Record a state; raise ``ValueError`` once closed."""
        self._refuse_closed()
        self._seq += 1
        self.checkpoints.append((self._seq, at_ns, state))
        self._since_checkpoint = 0

    def flush(self) -> None:
        """Do nothing: entries are where they will ever be."""

    def close(self) -> None:
        """Refuse what comes later."""
        self.closed = True

    def _refuse_closed(self) -> None:
        if self.closed:
            raise ValueError("the journal is closed")


class RecordingObserver:
    """Keeps all it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Event, tuple[Command, ...]]] = []

    def saw(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Take note."""
        self.seen.append((at_ns, event, tuple(commands)))


def tiny_processors(cores: int = 2) -> tuple[Processor, ...]:
    """Return one processor per core, and with several cores one gang of all."""
    single = tuple(Processor(f"cpu:{core}", "cpu", (core,), 1) for core in range(cores))
    gang = (Processor(f"cpu:0-{cores - 1}", "cpu", tuple(range(cores)), cores),) if cores > 1 else ()
    return single + gang


def tiny_family(task: str = "tiny") -> Family:
    """Return a family of a large, a small and a two-stage variant; nothing lies behind its artefacts."""
    exits = (
        ExitRule("eager", 0.5, (0.8, 0.2), (0.80, 0.84)),
        ExitRule("full", 2.0, (0.0, 1.0), (0.80, 0.90)),
    )
    return Family(
        task=task,
        title="A family for tests",
        inputs=(TensorSpec("x", "FP32", (-1, 4)),),
        outputs=(TensorSpec("logits", "FP32", (-1, 3)),),
        labels=("a", "b", "c"),
        variants=(
            _variant("large", 0.95, (_stage("large.onnx", 4000, ("x",), ()),)),
            _variant("small", 0.85, (_stage("small.onnx", 1000, ("x",), ()),)),
            _variant(
                "staged",
                0.90,
                (
                    _stage("staged-0.onnx", 1500, ("x",), ("hidden",)),
                    _stage("staged-1.onnx", 1500, ("hidden",), ()),
                ),
                exits,
            ),
        ),
        reference="large",
        last_resort="small",
        dataset=Dataset("none", "CC0-1.0", "made up", 0, 0),
    )


def _stage(artefact: str, size: int, inputs: tuple[str, ...], hidden: tuple[str, ...]) -> Stage:
    return Stage(artefact, "0" * 64, size, inputs, ("logits", *hidden), "logits", size // 4, 64)


def _variant(
    name: str, accuracy: float, stages: tuple[Stage, ...], rules: tuple[ExitRule, ...] = ()
) -> Variant:
    rules = rules or (ExitRule("full", 0.0, (1.0,), (accuracy,)),)
    return Variant(name, (), stages, rules, accuracy, 1000, 1000, "fp32")
