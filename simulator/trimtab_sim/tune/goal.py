"""What a search is for: a figure to make as large (or small) as can be, and limits that must hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trimtab.policy.structure import nearest
from trimtab_sim.results.summary import Row

_LIMIT: Final = re.compile(r"\s*([A-Za-z_][\w./@-]*)\s*(>=|<=)\s*([-+0-9.eE]+)\s*(%?)\s*")
_NOTHING_SERVED: Final = "accuracy_served"


class TuneError(ValueError):
    """A search cannot be run as asked."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure that must be at least (``sign`` 1) or at most (-1) ``value`` in every scenario."""

    figure: str
    sign: int
    value: float

    def excess(self, row: Row) -> float:
        """Return by how much a run breaks it, as a share of the limit; at most 0 when it holds."""
        return self.sign * (self.value - figure_of(row, self.figure)) / (abs(self.value) or 1.0)

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.sign > 0 else '<='} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to maximise (``sign`` 1) or minimise (-1), as a mean over scenarios, within limits."""

    figure: str
    sign: int = 1
    limits: tuple[Limit, ...] = ()

    @property
    def figures(self) -> tuple[str, ...]:
        """Return the figures it needs, its own first, each once."""
        return tuple(dict.fromkeys((self.figure, *(limit.figure for limit in self.limits))))

    def __str__(self) -> str:
        aim = f"{'maximize' if self.sign > 0 else 'minimize'} {self.figure}"
        return f"{aim} subject to {' and '.join(map(str, self.limits))}" if self.limits else aim


def read_limit(text: str) -> Limit:
    """Return a limit such as ``on_time_frac >= 0.95`` or ``energy_j <= 1800``; raise ``TuneError``."""
    found = _LIMIT.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        name, relation, number, percent = found.groups()
        value = float(number) / (100.0 if percent else 1.0)
    except ValueError:
        message = f"{text!r} is no limit; expected a figure, >= or <=, and a number: 'on_time_frac >= 0.95'"
        raise TuneError(message) from None
    return Limit(name, 1 if relation == ">=" else -1, value)


def figure_of(row: Row, name: str) -> float:
    """Return a figure of a run; ``streams.camera.on_time_frac`` is one inside another.

    A lifetime that did not end is the time simulated, and so is the latency of no answer; its accuracy is 0. Raise ``TuneError``
    for a figure that there is not, is no number, or that nobody can know in this scenario.
    """
    value: Any = row
    for part in _parts(row, name):
        if not isinstance(value, Mapping) or part not in value:
            known = sorted(key for key, one in row.items() if isinstance(one, int | float))
            raise TuneError(f"no figure {name!r}{nearest(name, known)}")
        value = value[part]
    if value is None and name == "lifetime_s":
        value = row["simulated_s"]
    if value is None and name.endswith(_NOTHING_SERVED):
        value = 0.0
    if value is None and "latency_ms_" in name:
        value = row["simulated_s"] * 1e3
    if value is None:
        raise TuneError(f"{name} is not known in this scenario")
    if isinstance(value, Mapping):
        raise TuneError(f"{name} is no number; name one inside, such as {name}.{next(iter(value), '...')}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TuneError(f"{name} is no number")
    return float(value)


def _parts(row: Row, name: str) -> list[str]:
    """Return a figure's path; names of streams and variants may have dots in them."""
    head, _, rest = name.partition(".")
    inner = row.get(head)
    if not rest or not isinstance(inner, Mapping):
        return [head, rest] if rest else [head]
    for key in sorted(inner, key=len, reverse=True):
        if rest == key or rest.startswith(f"{key}."):
            return [head, key, *_parts(inner[key], rest[len(key) + 1 :])] if rest != key else [head, key]
    return [head, rest]
