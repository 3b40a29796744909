"""MCDNN: Han et al., "MCDNN: An Approximation-Based Execution Framework for Deep Stream Processing", MobiSys 2016.

Approximate model scheduling (section 5), by the rules of the authors' published code.

A request of a task with frequency f may take f (E / T) / (sum of f'^2 + f^2) joules, where E is the energy left, T the
time left and the sum goes over the other tasks in memory. The most accurate variant within its share, and in time,
serves; none within it: the cheapest. For a variant not in memory E is less by its load times T over the time since
the task's last load, so that frequent loads make it unaffordable. A server's variant is affordable by its price alone, with
the money left in place of the energy; none affordable anywhere: the cheapest of the device.

Differs from the paper's setting: frequencies are the mean rates seen so far, not known ones; the energy is what is above
the policy's reserve, so unlike the published code it cannot be overdrawn; the variant in memory serves while a
better one that is affordable is being loaded, where the code only knows device, server or neither; money cannot be
overdrawn either; specialised models and shared answers are left out. Without a budget or horizon every variant is
affordable.
"""

from math import inf

from trimtab.core.money import money_left_s, spare_usd
from trimtab.core.prices import energy_left_j, horizon_left_s
from trimtab.core.selection import Choice, Entry, Situation, Table
from trimtab.core.state import Holding, Live, State
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns

SOONEST_S = 1e-3
"""A load is spread over at least so long."""


def share_j(frequency: float, others: float, energy_j: float, left_s: float) -> float:
    """Return the joules (or dollars) one request may take; ``others`` is the sum of the other tasks' squared frequencies."""
    return frequency * (energy_j / left_s) / (others + frequency * frequency)


def count(notes: dict[str, float], task: str, now_ns: int) -> None:
    """Count a request of a task."""
    notes[f"requests {task}"] = notes.get(f"requests {task}", 0.0) + 1.0
    notes.setdefault(f"first {task}", now_ns / NS_PER_S)


def frequency(notes: dict[str, float], task: str, now_ns: int) -> float:
    """Return a task's mean requests per second since its first one; 0 before the second."""
    later = notes.get(f"requests {task}", 0.0) - 1.0
    age_s = now_ns / NS_PER_S - notes.get(f"first {task}", 0.0)
    return later / age_s if later > 0.0 and age_s > 0.0 else 0.0


class Mcdnn(Picking):
    """The most accurate variant within the request's share of the energy left."""

    def choose(self, table: Table, at: Situation, live: Live, state: State, /) -> Choice | None:
        """Count the request, then pick."""
        if live.attempts == 1:
            count(state.notes, live.request.task, at.now_ns)
        return super().choose(table, at, live, state)

    def pick(self, ask: Ask) -> Pick:
        """Return the most accurate affordable entry in time, else the one with the least energy."""
        at, state = ask.at, ask.state
        budget = _Budget(ask)
        fitting = [
            e
            for e, slack_ns in ask.slacks()
            if latency_ns(e, at) <= slack_ns and budget.affords(e, at.batch, state)
        ]
        if fitting:
            key = lambda e: (-e.top_accuracy, e.candidate.expected_energy_uj, e.name)  # noqa: E731
            return Pick(min(fitting, key=key), False)
        here = [pair for pair in ask.slacks() if not pair[0].candidate.remote] or ask.slacks()
        resident = [pair for pair in here if pair[0].resident] or here
        entry, slack_ns = min(resident, key=lambda pair: (pair[0].candidate.expected_energy_uj, pair[0].candidate.cost_usd, -pair[1], pair[0].name))  # fmt: skip
        return Pick(entry, latency_ns(entry, at) > slack_ns)


class _Budget:
    """What one request may take, worked out once."""

    def __init__(self, ask: Ask) -> None:
        state, now_ns, task_of = ask.state, ask.at.now_ns, ask.live.request.task
        goal, device = state.policy.battery, state.device
        left_s = horizon_left_s(goal, device, state.device_at_ns, state.policy_since_ns, now_ns)
        energy_j = energy_left_j(state.energy, device, goal.reserve_frac, now_ns)
        self._free = left_s is None or energy_j is None or device.charging
        self._left_s, self._energy_j = left_s or 1.0, energy_j or 0.0
        alone = 1.0 / self._left_s
        self._frequency = frequency(state.notes, task_of, now_ns) or alone
        away = {p.pool for p in state.processors.values() if p.is_remote}
        held = [r for r in state.residences.values() if r.holding is not Holding.EVICTING]
        there = {r.task for r in held if r.pool in away}
        here = {r.task for r in held if r.pool not in away}
        self._others, self._others_there = (
            sum([frequency(state.notes, task, now_ns) ** 2 for task in sorted(tasks) if task != task_of])
            for tasks in (here, there)
        )
        money = state.policy.money
        self._money_s = None if money is None else money_left_s(money, state.money, now_ns)
        loads_ns = [r.ready_ns for r in state.residences.values() if r.task == task_of]
        self._since_load_s = max(
            SOONEST_S, (now_ns - max(loads_ns, default=state.policy_since_ns)) / NS_PER_S
        )

    def affords(self, entry: Entry, batch: int, state: State) -> bool:
        """Return whether an entry is within the request's share: of energy here, of money on a server."""
        candidate = entry.candidate
        if not candidate.remote:
            return candidate.expected_energy_uj * batch <= self.share_uj(entry, state)
        if self._money_s is None:
            return True
        share = share_j(self._frequency, self._others_there, spare_usd(state), self._money_s)
        return candidate.cost_usd * batch <= share

    def share_uj(self, entry: Entry, state: State) -> float:
        """Return the request's share for an entry, less what loading it this often would cost."""
        if self._free:
            return inf
        energy_j = self._energy_j
        if entry.residence not in state.residences:
            load_j = entry.candidate.load_energy_uj / UJ_PER_J
            energy_j -= load_j * self._left_s / self._since_load_s
        return share_j(self._frequency, self._others, energy_j, self._left_s) * UJ_PER_J
