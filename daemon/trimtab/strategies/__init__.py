"""Floor 1: the field's other schedulers behind the interface of ``core.selection.Strategy``.

A strategy is named in one text, ``NAME`` or ``NAME:ARGUMENT``, wherever one is asked for: in a policy, on the command
line, in a journal.
"""

from collections.abc import Callable, Mapping
from typing import Final

from trimtab.core.selection import NetValue, Strategy
from trimtab.strategies.alert import Alert
from trimtab.strategies.band import Band
from trimtab.strategies.deepx import Deepx
from trimtab.strategies.fixed import Largest, Smallest, Static
from trimtab.strategies.infaas import Infaas
from trimtab.strategies.leo import Leo
from trimtab.strategies.mcdnn import Mcdnn
from trimtab.strategies.proteus import Proteus
from trimtab.strategies.random_choice import Random
from trimtab.strategies.slackfit import SlackFit
from trimtab.strategies.tiers import FORM, Tiers


def _plain(make: Callable[[], Strategy]) -> Callable[[str], Strategy]:
    """Return a reader for a strategy that takes no argument."""

    def read(argument: str) -> Strategy:
        if argument:
            raise ValueError("it takes no argument")
        return make()

    return read


STRATEGIES: Final[Mapping[str, tuple[str, Callable[[str], Strategy]]]] = {
    "value": ("value", _plain(NetValue)),
    "largest": ("largest", _plain(Largest)),
    "smallest": ("smallest", _plain(Smallest)),
    "static": ("static:VARIANT@PROCESSOR", Static.parse),
    "random": ("random[:SEED]", Random.parse),
    "tiers": (f"tiers:{FORM}", Tiers.parse),
    "alert": ("alert[:CONFIDENCE]", Alert.parse),
    "band": ("band:shortest|slack|heft[@VARIANT]", Band.parse),
    "deepx": ("deepx[:ERROR]", Deepx.parse),
    "infaas": ("infaas", _plain(Infaas)),
    "leo": ("leo", _plain(Leo)),
    "mcdnn": ("mcdnn", _plain(Mcdnn)),
    "proteus": ("proteus", _plain(Proteus)),
    "slackfit": ("slackfit", _plain(SlackFit)),
}
"""Every strategy by name: how it is written, and what reads the argument behind the colon."""


def strategy_forms() -> str:
    """Return how every strategy is written, in one line."""
    return ", ".join([form for form, _ in STRATEGIES.values()])


def strategy_named(text: str) -> Strategy:
    """Return the strategy a policy names; raise ``ValueError`` telling which there are."""
    name, _, argument = text.partition(":")
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {text!r}: expected one of {strategy_forms()}")
    form, read = STRATEGIES[name]
    try:
        return read(argument)
    except ValueError as error:
        raise ValueError(f"strategy {text!r}: {error}; expected {form}") from error
