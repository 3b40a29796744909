"""Situations written by hand for tests of strategies: one task on one or two processors, figures in round numbers."""

from collections.abc import Sequence

from trimtab.core.queueing import DEFAULT_CLASS
from trimtab.core.selection import Entry, Lane, Situation, Strategy, Table
from trimtab.core.state import Estimate, Live, Phase, State
from trimtab.domain.decision import Candidate
from trimtab.domain.policy import Policy, Settings
from trimtab.domain.processor import Processor
from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, UJ_PER_J
from trimtab.domain.request import Request

MS, S, J = NS_PER_MS, NS_PER_S, UJ_PER_J
CPU, GPU = Processor("cpu", "cpu", (0,), 1), Processor("gpu", "gpu", (), 1, provider="CUDAExecutionProvider")


def entry(
    variant: str,
    latency_ms: float | Sequence[float],
    accuracy: float | Sequence[float],
    energy_j: float | Sequence[float] = 0.0,
    *,
    processor: Processor = CPU,
    resident: bool = True,
    load_ms: float = 0.0,
    load_j: float = 0.0,
) -> Entry:
    """Return a candidate of task "t"; several figures are those of its exits, at which all but the last stay in."""
    latencies, accuracies, energies = (
        (x,) if isinstance(x, (int, float)) else tuple(x) for x in (latency_ms, accuracy, energy_j)
    )
    exits = len(latencies)
    energies = energies * (exits if len(energies) == 1 else 1)
    candidate = Candidate(
        variant,
        processor.name,
        "full" if exits == 1 else "exits",
        0.0 if exits == 1 else 0.9,
        (*[0.0] * (exits - 1), 1.0),
        accuracies,
        tuple(int(x * MS) for x in latencies),
        tuple(x * J for x in energies),
        0.0,
        int(latencies[-1] * MS),
        energies[-1] * J,
        int(load_ms * MS),
        load_j * J,
        1,
    )
    found = Entry(candidate, (CPU, GPU).index(processor), f"t/{variant}@{processor.pool}")
    found.resident = resident
    if not resident:
        found.load_ns, found.load_uj = candidate.load_ns, candidate.load_energy_uj
    return found


class Asked:
    """A strategy, what it is asked, and the state it remembers in."""

    def __init__(
        self,
        strategy: Strategy,
        *entries: Entry,
        budget_ms: float = 100.0,
        waits_ms: tuple[float, float] = (0.0, 0.0),
        floor: float = 0.0,
        limit_j: float | None = None,
        state: State | None = None,
        now_ns: int = S,
        batch: int = 1,
    ) -> None:
        """Ask at ``now_ns`` for an answer within ``budget_ms`` while processors are busy for ``waits_ms``."""
        settings = Settings()
        self.strategy = strategy
        self.state = State(processors={p.name: p for p in (CPU, GPU)}) if state is None else state
        self.state.overhead_ns = 0.0
        self.state.arrivals += 1
        self.table = Table(settings, (), entries, 0.0, 1.0)
        request = Request(f"r{self.state.arrivals}", "t", batch=batch, min_accuracy_frac=floor)
        deadline_ns = now_ns + int(budget_ms * MS)
        self.live = Live(
            request, self.state.arrivals, Phase.NEW, now_ns, deadline_ns, settings, (), Policy("p").name
        )
        self.live.attempts, self.live.rank = 1, (DEFAULT_CLASS, deadline_ns, self.live.seq)
        lanes = [Lane(int(x * MS), int(x * MS), full=False) for x in waits_ms]
        self.at = Situation(
            now_ns,
            int(budget_ms * MS),
            floor,
            None if limit_j is None else limit_j * J,
            1.645,
            lanes,
            [Estimate(), Estimate()],
            [0.0, 0.0],
            [1.0, 1.0],
            "",
            1.0,
            (),
            batch,
        )

    def ask(self) -> tuple[str, bool] | None:
        """Return the name of what is chosen and whether its deadline is given up."""
        choice = self.strategy.choose(self.table, self.at, self.live, self.state)
        return (
            None if choice is None else (choice.entry.name, "deadline" in [g.value for g in choice.given_up])
        )

    def wish(self) -> str | None:
        """Return the name of what is wished for."""
        found = self.strategy.wish(self.table, self.at, self.live, self.state)
        return None if found is None else found.name

    def ran(self, chosen: Entry, factor: float) -> None:
        """Tell the strategy that the candidate took ``factor`` times its profile."""
        self.live.candidate = chosen.candidate
        self.strategy.ran(self.live, chosen.latency_ns, int(chosen.latency_ns * factor), self.state)
