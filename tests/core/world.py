"""A small world for scheduler tests: one task, three variants, two cores and their gang, and a hand-fed driver."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trimtab.core import commands as cm
from trimtab.core import events as ev
from trimtab.core.invariants import check
from trimtab.core.scheduler import Scheduler
from trimtab.core.state import State
from trimtab.domain.decision import Decision, Outcome, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Dataset, ExitRule, Family, Profile, Stage, TensorSpec, Variant
from trimtab.domain.policy import Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS
from trimtab.domain.request import Request
from trimtab.strategies import strategy_named

CORE_0 = Processor("cpu:0", "cpu", (0,), 1)
CORE_1 = Processor("cpu:1", "cpu", (1,), 1)
GANG = Processor("cpu:0-1", "cpu", (0, 1), 2)
PROCESSORS = (CORE_0, CORE_1, GANG)
POOL_1, POOL_2 = CORE_0.pool, GANG.pool
IMAGE, LOGITS = TensorSpec("image", "FP32", (-1, 4)), TensorSpec("logits", "FP32", (-1, 2))
MIB = 1 << 20
MS = NS_PER_MS
PLAIN = Policy("plain", defaults=Settings(energy_price_per_j=0.001))
"""Nearly free energy: the most accurate candidate in time wins."""


def variant(name: str, *rules: ExitRule, accuracy: float) -> Variant:
    """Return a variant with as many stages as its rules have exits."""
    stages = tuple(
        Stage(f"{name}-{i}.onnx", "", 1000, ("image",), ("logits",), "logits", 1, 1)
        for i in range(len(rules[0].share_frac))
    )
    return Variant(name, (), stages, rules, accuracy, 1, 1, "fp32")


def full(accuracy: float) -> ExitRule:
    """Return the rule of a variant with one stage."""
    return ExitRule("full", 0.0, (1.0,), (accuracy,))


SMALL = variant("small", full(0.80), accuracy=0.80)
LARGE = variant("large", full(0.95), accuracy=0.95)
EXITS = ExitRule("patient", 0.9, (0.5, 0.3, 0.2), (0.70, 0.85, 0.90))
HASTY = ExitRule("hasty", 0.5, (0.9, 0.1, 0.0), (0.70, 0.78, 0.78))
STAGED = variant("staged", EXITS, HASTY, accuracy=0.90)


def family(*variants: Variant, task: str = "t", last_resort: str = "small") -> Family:
    """Return a family of these variants (default: small, large, staged)."""
    variants = variants or (SMALL, LARGE, STAGED)
    return Family(
        task=task,
        title=task,
        inputs=(IMAGE,),
        outputs=(LOGITS,),
        labels=("a", "b"),
        variants=variants,
        reference=variants[-1].name,
        last_resort=last_resort,
        dataset=Dataset("", "", "", 1, 1),
    )


STAGE_NS = {"small": (1 * MS,), "large": (10 * MS,), "staged": (2 * MS, 2 * MS, 2 * MS)}
"""Per stage on one core; the gang takes 0.6 of it at 1.5 times the energy. 1 ms on a core costs 2 mJ."""


def profile(name: str, processor: Processor, stage_ns: Sequence[int], mib: int = 2) -> Profile:
    """Return a profile; loading takes 5 ms and 500 uJ."""
    wide = processor.threads == 2
    return Profile(
        variant=name,
        processor=processor.name,
        stage_latency_ns=tuple(int(x * 0.6) if wide else x for x in stage_ns),
        latency_spread=0.05,
        stage_energy_uj=tuple(x * 2e-3 * (1.5 if wide else 1.0) for x in stage_ns),
        load_ns=5 * MS,
        load_energy_uj=500.0,
        resident_bytes=mib * MIB,
    )


PROFILES = tuple(profile(name, p, ns) for name, ns in STAGE_NS.items() for p in PROCESSORS)


@dataclass
class World:
    """Feeds a scheduler, checks invariants after each event, and keeps what it was told."""

    policy: Policy = PLAIN
    device: DeviceState = field(default_factory=DeviceState)
    families: tuple[tuple[Family, tuple[Profile, ...]], ...] = ((family(), PROFILES),)
    processors: tuple[Processor, ...] = PROCESSORS
    explain: bool = False
    now_ns: int = 1000 * MS
    load_all: bool = True
    count: int = 0

    def __post_init__(self) -> None:
        """Start a scheduler that is told everything; with ``load_all`` every variant is in memory."""
        self.scheduler = Scheduler(strategy_named, explain=self.explain)
        self.log: list[tuple[int, ev.Event, list[cm.Command]]] = []
        self.loads: list[cm.Load] = []
        self.evictions: list[cm.Evict] = []
        self.runs: dict[str, cm.RunStage] = {}
        self.decided: dict[str, list[cm.Decided]] = {}
        self.finished: dict[str, cm.Finish] = {}
        self.feed(ev.PolicyReplaced(self.policy))
        self.feed(ev.ProcessorsFound(self.processors))
        self.feed(ev.DeviceChanged(self.device))
        for one, profiles in self.families:
            self.feed(ev.FamilyAdded(one))
            self.feed(ev.ProfilesReplaced(one.task, profiles))
        self.finish_loads()
        if self.load_all:
            for one, _ in self.families:
                self.warm(one)

    @property
    def state(self) -> State:
        """Return the scheduler's state."""
        return self.scheduler.state

    def warm(self, one: Family) -> None:
        """Bring every variant into memory on one core by pinning each once."""
        for each in one.variants:
            request_id = self.ask(variant=each.name, task=one.task, latency_budget_ns=1000 * MS)
            self.finish_loads()
            while request_id in self.runs:
                self.end_stage(request_id)

    def feed(self, event: ev.Event, after_ns: int = 0) -> list[cm.Command]:
        """Let time pass, hand in an event, check invariants and note the commands."""
        self.now_ns += after_ns
        commands = self.scheduler.handle(event, self.now_ns)
        check(self.state)
        self.log.append((self.now_ns, event, list(commands)))
        for command in commands:
            self._note(command)
        return commands

    def _note(self, command: cm.Command) -> None:
        match command:
            case cm.Load():
                self.loads.append(command)
            case cm.Evict():
                self.evictions.append(command)
            case cm.RunStage():
                assert command.request_id not in self.runs, "two stages of a request at once"
                self.runs[command.request_id] = command
            case cm.Decided():
                self.decided.setdefault(command.decision.request_id, []).append(command)
            case cm.Finish():
                assert command.result.request_id not in self.finished, "answered twice"
                self.finished[command.result.request_id] = command

    def ask(self, request_id: str = "", task: str = "t", elapsed_ns: int = 0, **goals: object) -> str:
        """Let a request arrive and return its id."""
        self.count += 1
        request_id = request_id or f"r{self.count}"
        request = Request(request_id, task, **goals)  # type: ignore[arg-type]
        self.feed(ev.RequestArrived(request, elapsed_ns))
        return request_id

    def finish_loads(self, after_ns: int = 5 * MS, resident_bytes: int = 2 * MIB) -> None:
        """Report every load under way as done."""
        while self.loads:
            load = self.loads.pop(0)
            self.feed(ev.LoadFinished(load.task, load.variant, load.pool, after_ns, resident_bytes), after_ns)

    def finish_evictions(self) -> None:
        """Report every eviction under way as done."""
        while self.evictions:
            gone = self.evictions.pop(0)
            self.feed(ev.EvictFinished(gone.task, gone.variant, gone.pool))

    def end_stage(
        self, request_id: str, confidence: float = 0.0, factor: float = 1.0, energy_uj: float | None = None
    ) -> list[cm.Command]:
        """Report the stage a request is running as done after ``factor`` times its profiled latency.

        It took the energy its profile says, unless another is given.
        """
        run = self.runs.pop(request_id)
        one = next(
            p
            for _, profiles in self.families
            for p in profiles
            if (p.variant, p.processor) == (run.variant, run.processor)
        )
        run_ns = int(one.stage_latency_ns[run.stage] * factor)
        used_uj = one.stage_energy_uj[run.stage] if energy_uj is None else energy_uj
        return self.feed(ev.StageFinished(request_id, run.stage, run_ns, used_uj, confidence), run_ns)

    def fail(self, request_id: str, fault: str = "variant") -> list[cm.Command]:
        """Report that the stage a request is running failed."""
        run = self.runs.pop(request_id)
        return self.feed(ev.RunFailed(request_id, run.stage, "boom", fault), MS)

    def decision(self, request_id: str) -> Decision:
        """Return the last decision about a request."""
        return self.decided[request_id][-1].decision

    def result(self, request_id: str) -> Result:
        """Return how a request ended."""
        return self.finished[request_id].result

    def outcome(self, request_id: str) -> Outcome:
        """Return how a request ended, in one word."""
        return self.result(request_id).outcome
