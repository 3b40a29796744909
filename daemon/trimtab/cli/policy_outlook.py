"""What a policy does at one moment, worked out by the scheduler itself; ``policy_explain`` prints it."""

from dataclasses import dataclass, replace
from math import isfinite

from trimtab.core import commands as cm
from trimtab.core.prices import horizon_left_s, spare_uj
from trimtab.core.rehearsal import Rehearsal, Setup
from trimtab.core.tables import energy_price_in, settings_for
from trimtab.domain.decision import Verdict, Why
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import Policy
from trimtab.domain.quantities import NS_PER_S, UJ_PER_J
from trimtab.domain.request import Request
from trimtab.domain.settings import settle
from trimtab.policy.moments import Moment
from trimtab.policy.words import settings_words
from trimtab.strategies import strategy_named

ASKED = 64
"""So many requests come before the one that is told, so that demand is known and what pays is loaded."""
RIVALS = 3
TELLING = 5e-5
"""Utility that four digits show."""
STEP = 1e-3
"""A rule is told to begin just below a charge when it holds so much further down."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A candidate that lost, and why."""

    candidate: str
    value: float
    why: str


@dataclass(frozen=True, slots=True)
class Served:
    """How a typical request is decided; ``candidate`` is empty when it is refused, for the reason in ``why``."""

    candidate: str
    why: str
    accuracy_frac: float = 0.0
    latency_ns: int = 0
    energy_uj: float = 0.0
    value: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()
    given_up: tuple[str, ...] = ()
    rivals: tuple[Rival, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What holds at one moment: rules, what they change, energy above the reserve and its price, who serves.

    ``beginning`` are rules that hold at a little less charge. ``spare_j`` is ``None`` while energy is not limited,
    ``horizon_ns`` without a horizon.
    """

    title: str
    rules: tuple[str, ...]
    beginning: tuple[str, ...]
    changes: tuple[str, ...]
    spare_j: float | None
    horizon_ns: int | None
    energy_price_per_j: float
    horizon_price_per_j: float
    served: Served | None


def outlook(policy: Policy, moment: Moment, setup: Setup, asked: Request, rate_per_s: float) -> Outlook:
    """Return what a policy does at one moment; without a task asked for nobody is served."""
    play = _played(policy, setup, (*moment.before, moment.device))
    state, device = play.state, moment.device
    served = None
    if asked.task:
        told = play.ask(asked, times=ASKED, gap_ns=int(NS_PER_S / rate_per_s))
        served = _served(told)
        play.read((device,))
    settings, rules = settings_for(state, asked.task, asked.app, play.now_ns)
    spare = spare_uj(state.energy, device, policy.battery.reserve_frac, play.now_ns)
    left_s = horizon_left_s(policy.battery, device, state.device_at_ns, state.policy_since_ns, play.now_ns)
    return Outlook(
        title=moment.title,
        rules=rules,
        beginning=_beginning(policy, moment, asked, rules),
        changes=tuple(settings_words(settings, before=settle(policy, asked.task, ()))),
        spare_j=max(0.0, spare / UJ_PER_J) if isfinite(spare) else None,
        horizon_ns=None if left_s is None or device.charging else int(left_s * NS_PER_S),
        energy_price_per_j=energy_price_in(state, settings),
        horizon_price_per_j=state.energy.price_per_j,
        served=served,
    )


def _played(policy: Policy, setup: Setup, readings: tuple[DeviceState, ...]) -> Rehearsal:
    play = Rehearsal(strategy_named, setup, policy)
    play.read(readings)
    return play


def _beginning(policy: Policy, moment: Moment, asked: Request, rules: tuple[str, ...]) -> tuple[str, ...]:
    """Return the rules that would hold with a little less charge, and do not yet."""
    device = moment.device
    if device.charging or device.battery_frac is None:
        return ()
    below = replace(device, battery_frac=max(0.0, device.battery_frac - STEP))
    play = _played(policy, Setup((), ()), (*moment.before, device, below))
    _, names = settings_for(play.state, asked.task, asked.app, play.now_ns)
    return tuple([name for name in names if name not in rules])


def _served(told: cm.Decided | cm.Finish) -> Served:
    if isinstance(told, cm.Finish):
        return Served("", told.result.reason, rivals=_rivals(told.verdicts))
    decision = told.decision
    won = next(v for v in told.verdicts if v.why is Why.CHOSEN)
    return Served(
        candidate=decision.candidate,
        why=_reason(told, won),
        accuracy_frac=decision.accuracy_frac,
        latency_ns=decision.latency_ns,
        energy_uj=decision.energy_uj,
        value=decision.value,
        parts=tuple([(part.name, part.utility) for part in won.parts if abs(part.utility) >= TELLING]),
        given_up=tuple([goal.value for goal in decision.given_up]),
        rivals=_rivals(told.verdicts),
    )


def _reason(told: cm.Decided, won: Verdict) -> str:
    """Return in words why a candidate won."""
    if told.decision.given_up:
        return "no candidate meets every goal, and this one comes nearest"
    fit = [v for v in told.verdicts if v is not won and v.why in (Why.VALUE, Why.TIE)]
    if not fit:
        return "it is the only one that meets every constraint"
    best = max(v.value for v in fit)
    if won.value > best:
        return f"worth most after paying for what it uses, {won.value:.4f} against {best:.4f} of the next candidate"
    tied = won.value == best
    return (
        f"worth {won.value:.4f} like another, and first by energy, latency and name"
        if tied
        else "the strategy takes it"
    )


def _rivals(verdicts: tuple[Verdict, ...]) -> tuple[Rival, ...]:
    """Return the losers that were worth most, each variant once."""
    lost = sorted((v for v in verdicts if v.why is not Why.CHOSEN), key=lambda v: -v.value)
    named = {v.candidate.partition("@")[0] for v in verdicts if v.why is Why.CHOSEN}
    found: list[Rival] = []
    for verdict in lost:
        variant = verdict.candidate.partition("@")[0]
        if variant not in named and len(found) < RIVALS:
            named.add(variant)
            detail = f" ({verdict.detail})" if verdict.detail else ""
            found.append(Rival(verdict.candidate, verdict.value, verdict.why.value + detail))
    return tuple(found)
