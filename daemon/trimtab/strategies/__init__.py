"""Floor 1: the field's other schedulers behind the interface of ``core.selection.Strategy``."""

from trimtab.core.selection import NetValue, Strategy
from trimtab.strategies.fixed import Largest, Smallest, Static


def strategy_named(name: str) -> Strategy:
    """Return the strategy a policy names; raise ``ValueError`` telling which names there are."""
    match name:
        case "value":
            return NetValue()
        case "largest":
            return Largest()
        case "smallest":
            return Smallest()
        case _:
            return Static.parse(name)
