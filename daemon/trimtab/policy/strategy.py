"""A strategy as a policy writes it: one text, or a mapping of its name and parameters, which becomes that text."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from trimtab.policy.errors import Path
from trimtab.policy.scalars import fraction
from trimtab.policy.structure import nearest

PARAMETERS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "static": (("variant", "processor"), ()),
    "random": ((), ("seed",)),
    "tiers": (("else",), ("above",)),
    "alert": ((), ("confidence",)),
    "band": (("rule",), ("variant",)),
    "deepx": ((), ("error",)),
}
"""For each strategy with parameters: those it needs and those it may have."""


def strategy_text(given: str | Mapping[str, Any]) -> str:
    """Return the one text that names a strategy with its parameters; the mapping must have passed all checks."""
    if isinstance(given, str):
        return given.strip()
    name = str(given["name"])
    argument = _ARGUMENTS[name](given) if name in _ARGUMENTS else ""
    return f"{name}:{argument}" if argument else name


def strategy_findings(given: object) -> Iterator[tuple[Path, str]]:
    """Yield parameters that a strategy needs or does not know, and thresholds given twice."""
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        return
    name = given["name"]
    needed, optional = PARAMETERS.get(name, ((), ()))
    for key in given:
        if key != "name" and key not in needed + optional:
            known = [*needed, *optional]
            hint = nearest(key, known) if known else "; it takes no parameters"
            yield ("strategy", key), f"{name} does not take this{hint}"
    for key in needed:
        if key not in given:
            yield ("strategy",), f"{name} needs {key}"
    seen: dict[float, str] = {}
    above = given.get("above")
    for key in above if isinstance(above, Mapping) else ():
        try:
            charge = _charge(key)
        except (ArithmeticError, ValueError):
            continue
        if seen.setdefault(charge, key) != key:
            yield ("strategy", "above", key), f"the same charge as {seen[charge]}"


def names_in(strategy: str) -> tuple[list[str], list[str]]:
    """Return the variants (or patterns of them) and the processors that a strategy's text names."""
    name, _, argument = strategy.partition(":")
    before, _, behind = argument.partition("@")
    if name == "static":
        return [before], [behind]
    if name == "tiers":
        return [part.partition("=")[2] for part in argument.split(",")], []
    return ([behind], []) if name == "band" and behind else ([], [])


def _charge(key: str) -> float:
    """Return the fraction that a key such as ``50 %`` or ``0.5`` stands for, which is text in a document.

    Raises ``ValueError`` or ``ArithmeticError`` for other text.
    """
    return fraction(key) if key.endswith("%") else float(key)


def _tiers(given: Mapping[str, Any]) -> str:
    steps = [f"{_charge(key)}={variant}" for key, variant in given.get("above", {}).items()]
    return ",".join([*steps, f"else={given['else']}"])


def _band(given: Mapping[str, Any]) -> str:
    return f"{given['rule']}@{given['variant']}" if "variant" in given else str(given["rule"])


def _fraction_of(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda given: str(fraction(given[key])) if key in given else ""


_ARGUMENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "static": lambda given: f"{given['variant']}@{given['processor']}",
    "random": lambda given: str(int(given["seed"])) if "seed" in given else "",
    "tiers": _tiers,
    "alert": _fraction_of("confidence"),
    "band": _band,
    "deepx": _fraction_of("error"),
}
"""For each strategy with parameters: the text behind the colon."""
