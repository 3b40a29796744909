"""NetValue against brute force, and the pieces of a judgement by hand."""

from math import inf, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core.selection import (
    NEVER_Z,
    NO_ROOM,
    Choice,
    Entry,
    Judged,
    Lane,
    NetValue,
    Situation,
    Table,
    broken_goals,
    floor_exit,
    judge,
    ln_room_of,
    on_time_prob,
)
from trimtab.core.state import Estimate
from trimtab.core.tables import confidence_z
from trimtab.domain.decision import Candidate, Why
from trimtab.domain.policy import Goal, Settings
from trimtab.domain.request import Prefer

MS = 1_000_000
LANES = ("cpu:0", "gpu:0")
ORDERS = ((Goal.ENERGY, Goal.ACCURACY, Goal.DEADLINE), (Goal.DEADLINE,), (Goal.ACCURACY, Goal.ENERGY), ())


def candidate(
    name: str = "v",
    processor: str = "cpu:0",
    accuracy: tuple[float, ...] = (0.9,),
    latency_ns: tuple[int, ...] = (MS,),
    energy_uj: tuple[float, ...] = (1000.0,),
) -> Candidate:
    share = tuple(1.0 / len(accuracy) for _ in accuracy)
    return Candidate(
        variant=name,
        processor=processor,
        exit_rule="full",
        threshold=0.5,
        share_frac=share,
        accuracy_frac=accuracy,
        latency_ns=latency_ns,
        energy_uj=energy_uj,
        latency_spread=0.1,
        expected_latency_ns=int(sum(s * x for s, x in zip(share, latency_ns, strict=True))),
        expected_energy_uj=sum(s * x for s, x in zip(share, energy_uj, strict=True)),
        load_ns=5 * MS,
        load_energy_uj=500.0,
        resident_bytes=1,
    )


def situation(
    time_ns: int = 10 * MS,
    waits: tuple[int, int] = (0, 0),
    full: tuple[bool, bool] = (False, False),
    mean: float = 0.0,
    **more: object,
) -> Situation:
    lanes = tuple(Lane(wait, wait, is_full) for wait, is_full in zip(waits, full, strict=True))
    batch = more.get("batch", 1)
    assert isinstance(batch, int)
    fields: dict[str, object] = {
        "now_ns": 0,
        "time_ns": time_ns,
        "floor_frac": 0.0,
        "max_energy_uj": None,
        "min_z": confidence_z(0.95),
        "lanes": lanes,
        "estimates": (Estimate(mean, 0.0004, 0.0001),) * len(lanes),
        "ln_room": tuple(ln_room_of(time_ns - x.wait_ns, mean + log(batch)) for x in lanes),
        "stretches": (1.0,) * len(lanes),
        "variant": "",
        "weight": 1.0,
        "give_up": ORDERS[0],
        "ln_batch": log(batch),
    }
    return Situation(**{**fields, **more})  # type: ignore[arg-type]


def table(entries: list[Entry], prefer: Prefer = Prefer.VALUE, *, spare: bool = False) -> Table:
    entries = sorted(entries, key=lambda e: e.ideal, reverse=True)
    return Table(Settings(), (), tuple(entries), 0.0, 1.0, prefer=prefer, spare_cheapest=spare)


def entry_of(one: Candidate, cost: float = 0.0, weight: float = 1.0) -> Entry:
    entry = Entry(one, LANES.index(one.processor), one.name)
    entry.cost = cost
    entry.ideal = entry.bound = weight * entry.top_accuracy - cost
    return entry


# ---- brute force -----------------------------------------------------------------------------------


def key(prefer: Prefer, entry: Entry, judged: Judged, at: Situation) -> tuple[float | str, ...]:
    """Return the written tie rule: preference, then energy, then latency, then name."""
    energy, finish = entry.candidate.expected_energy_uj, judged.finish_ns
    if prefer is Prefer.ENERGY:
        return (energy, -judged.value, finish, entry.candidate.name)
    if prefer is Prefer.LATENCY:
        return (finish, energy, -judged.value, entry.candidate.name)
    return (-judged.value, energy, finish, entry.candidate.name)


def exhaustive(one: Table, at: Situation) -> tuple[str, tuple[Goal, ...]] | None:
    """Return what must be chosen, judging everything and skipping nothing."""
    judged = [(e, judge(e, at)) for e in one.entries]
    good = [(e, j) for e, j in judged if j.why is Why.CHOSEN]
    if good:
        return min(good, key=lambda p: key(one.prefer, p[0], p[1], at))[0].name, ()
    hard = (Why.CHOSEN, Why.ENERGY, Why.ACCURACY, Why.DEADLINE)
    soft = [(e, j, broken_goals(e, j, at)) for e, j in judged if j.why in hard]
    for count in range(1, len(at.give_up) + 1):
        fitting = [(e, j, b) for e, j, b in soft if set(b) <= set(at.give_up[:count])]
        if fitting:
            last = at.give_up[count - 1]

            def near(
                item: tuple[Entry, Judged, tuple[Goal, ...]], last: Goal = last
            ) -> tuple[float | str, ...]:
                e, j, _ = item
                c = e.candidate
                if last is Goal.ENERGY:
                    return (c.expected_energy_uj, -j.value, c.name)
                if last is Goal.ACCURACY:
                    return (-max(c.accuracy_frac), -j.value, c.expected_energy_uj, c.name)
                return (-j.z, j.finish_ns, c.expected_energy_uj, c.name)

            e, _, b = min(fitting, key=near)
            return e.name, b
    return None


few = st.sampled_from
accuracies = st.lists(few([0.5, 0.7, 0.8, 0.8, 0.9, 0.93]), min_size=1, max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    made = []
    for index in range(draw(st.integers(0, 7))):
        accuracy = tuple(draw(accuracies))
        step_ns, step_uj = draw(few([MS // 2, MS, MS, 4 * MS])), draw(few([100.0, 100.0, 900.0]))
        exits = range(1, len(accuracy) + 1)
        one = candidate(
            f"v{index}",
            draw(few(LANES)),
            accuracy,
            tuple(step_ns * k for k in exits),
            tuple(step_uj * k for k in exits),
        )
        entry = entry_of(one, cost=draw(few([0.0, 0.0, 0.05, 0.3])))
        entry.blocked = draw(few([None, None, None, None, Why.UNHEALTHY]))
        if draw(st.booleans()):
            entry.resident, entry.load_ns, entry.load_uj = False, 3 * MS, 300.0
            entry.load_cost = draw(few([0.0, 0.1]))
            entry.ready_ns = draw(few([-1, 2 * MS]))
            entry.bound = entry.ideal - entry.load_cost
        made.append(entry)
    return made


situations = st.builds(
    situation,
    time_ns=few([-MS, MS, 2 * MS, 3 * MS, 6 * MS, 100 * MS]),
    waits=st.tuples(few([0, MS, 9 * MS]), few([0, MS])),
    full=st.tuples(few([False, False, True]), few([False, True])),
    mean=few([0.0, 0.4]),
    floor_frac=few([0.0, 0.8, 0.92]),
    max_energy_uj=few([None, None, 250.0]),
    min_z=few([confidence_z(0.95), confidence_z(0.5), confidence_z(0.2)]),
    variant=few(["", "", "", "v1"]),
    give_up=few(ORDERS),
    batch=few([1, 1, 3]),
    spare_uj=few([inf, inf, 350.0, -5.0]),
)


@settings(max_examples=400, deadline=None)
@given(entries(), situations, few(list(Prefer)), st.booleans())
def test_skips_nothing_that_could_win(some: list[Entry], at: Situation, prefer: Prefer, spare: bool) -> None:
    one = table(some, prefer, spare=spare)
    choice = NetValue().choose(one, at)
    found = None if choice is None else (choice.entry.name, choice.given_up)
    assert found == exhaustive(one, at)


@settings(max_examples=200, deadline=None)
@given(entries(), situations)
def test_no_entry_is_worth_more_than_its_ideal(some: list[Entry], at: Situation) -> None:
    for entry in some:
        assert judge(entry, at).value <= entry.bound <= entry.ideal
        assert judge(entry, at, ignore_load=True).value <= entry.ideal


# ---- by hand ---------------------------------------------------------------------------------------


def test_accuracy_by_the_deadline_is_a_staircase() -> None:
    """Room for the second exit at exactly half a chance: 0.5 x 0.6 + 0.5 x 0.8."""
    one = entry_of(candidate(accuracy=(0.6, 0.8), latency_ns=(MS, 10 * MS), energy_uj=(1.0, 2.0)))
    judged = judge(one, situation(time_ns=10 * MS, floor_frac=0.7))
    assert judged.accuracy_frac == pytest.approx(0.7)
    assert judged.on_time_prob == pytest.approx(0.5)
    assert judge(one, situation(time_ns=10 * MS)).on_time_prob == 1.0, "the first exit is good enough"


def test_probabilities() -> None:
    assert on_time_prob(0.0) == 0.5
    assert on_time_prob(1.6448536) == pytest.approx(0.95, abs=1e-6)
    assert (on_time_prob(9.0), on_time_prob(-9.0), on_time_prob(NEVER_Z)) == (1.0, 0.0, 0.0)
    assert confidence_z(0.95) == pytest.approx(1.6448536)
    assert ln_room_of(0, 0.0) == ln_room_of(1, 5.0) == NO_ROOM


def test_the_floors_exit() -> None:
    assert [floor_exit((0.6, 0.8, 0.7), floor) for floor in (0.0, 0.7, 0.9)] == [0, 1, 2]


def test_a_load_under_way_is_waited_for_and_an_overdue_one_as_long_again() -> None:
    entry = entry_of(candidate())

    def load_ns(now_ns: int) -> int:
        return judge(entry, situation(now_ns=now_ns)).load_ns

    assert load_ns(0) == 0
    entry.resident, entry.load_ns = False, 5 * MS
    assert load_ns(99) == 5 * MS
    entry.ready_ns = 7 * MS
    assert [load_ns(t * MS) for t in (6, 7, 9)] == [MS, 0, 2 * MS]


def test_what_is_late_for_certain_is_never_nearer_than_what_is_merely_unlikely() -> None:
    slow, never = entry_of(candidate("slow", latency_ns=(900 * MS,))), entry_of(candidate("never"))
    never.resident, never.load_ns = False, 500 * MS
    choice = NetValue().choose(table([slow, never]), situation(time_ns=10 * MS))
    assert isinstance(choice, Choice)
    assert (choice.entry.name, choice.given_up) == ("slow@cpu:0", (Goal.DEADLINE,))
