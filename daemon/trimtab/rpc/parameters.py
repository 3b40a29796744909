"""The named parameters of a request, checked and turned into goals."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from trimtab.domain.quantities import NS_PER_MS, NS_PER_S, NS_PER_US, UJ_PER_MJ
from trimtab.domain.request import Prefer
from trimtab.rpc.errors import WireError, invalid, shown
from trimtab.rpc.pb.inference_pb2 import InferParameter

LONGEST_BUDGET_NS: Final = 24 * 3_600 * NS_PER_S
HIGHEST_PRIORITY: Final = 2**32 - 1
HIGHEST_ENERGY_MJ: Final = 1e12
TEXT_LIMIT: Final = 256
MODES: Final = ("fallback", "strict")
"""Whether another processor than the one asked for may serve."""

Parameters = Mapping[str, InferParameter]


@dataclass(slots=True)
class Goals:
    """What a caller wants of one request, in the units of the domain; ``None`` leaves it to the policy."""

    latency_budget_ns: int | None = None
    timeout_ns: int | None = None
    min_accuracy_frac: float | None = None
    max_energy_uj: float | None = None
    priority: int = 0
    prefer: Prefer = Prefer.VALUE
    variant: str = ""
    app: str = ""
    processor: str = ""
    strict: bool = False

    def budget_ns(self, remaining_s: float | None) -> int | None:
        """Return the latency budget: the explicit one, else Triton's timeout, else the call's deadline."""
        if self.latency_budget_ns is not None:
            return self.latency_budget_ns
        if self.timeout_ns is not None:
            return self.timeout_ns
        if remaining_s is None or remaining_s * NS_PER_S > LONGEST_BUDGET_NS:
            return None
        return max(1, int(remaining_s * NS_PER_S))


def goals(parameters: Parameters) -> Goals:
    """Return the goals that ``parameters`` state; unknown names are ignored, as Triton does."""
    wanted = Goals()
    for name, parameter in parameters.items():
        read = _READERS.get(name)
        if read is not None:
            read(wanted, name, parameter)
    return wanted


def number(name: str, parameter: InferParameter, expected: str) -> float:
    """Return a parameter given as integer, double or text; raise ``WireError`` unless finite and >= 0."""
    value: Any = _value(parameter)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _wrong(name, expected, value) from None
    if value is None or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise _wrong(name, expected, value)
    return value  # type: ignore[no-any-return]


def _whole(name: str, parameter: InferParameter, expected: str) -> int:
    value = number(name, parameter, expected)
    if value != int(value):
        raise _wrong(name, expected, value)
    return int(value)


def _text(name: str, parameter: InferParameter) -> str:
    value = _value(parameter)
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        raise _wrong(name, f"text of at most {TEXT_LIMIT} characters", value)
    return value


def _value(parameter: InferParameter) -> object:
    kind = parameter.WhichOneof("parameter_choice")
    return None if kind is None else getattr(parameter, kind)


def _wrong(name: str, expected: str, value: object) -> WireError:
    got = "nothing" if value is None else f"{shown(value)} ({type(value).__name__})"
    return invalid(f"parameter '{name}': expected {expected}, got {got}")


def _read_budget(wanted: Goals, name: str, parameter: InferParameter) -> None:
    expected = f"milliseconds above 0 and at most {LONGEST_BUDGET_NS // NS_PER_MS}"
    value_ms = number(name, parameter, expected)
    if not 0 < value_ms * NS_PER_MS <= LONGEST_BUDGET_NS:
        raise _wrong(name, expected, value_ms)
    wanted.latency_budget_ns = max(1, round(value_ms * NS_PER_MS))


def _read_timeout(wanted: Goals, name: str, parameter: InferParameter) -> None:
    value_us = _whole(name, parameter, "whole microseconds, 0 for none")
    if 0 < value_us * NS_PER_US <= LONGEST_BUDGET_NS:
        wanted.timeout_ns = value_us * NS_PER_US


def _read_accuracy(wanted: Goals, name: str, parameter: InferParameter) -> None:
    expected = "a fraction from 0 to 1 (0.9 for 90 %)"
    value = number(name, parameter, expected)
    if value > 1:
        raise _wrong(name, expected, value)
    wanted.min_accuracy_frac = float(value)


def _read_energy(wanted: Goals, name: str, parameter: InferParameter) -> None:
    expected = f"millijoules from 0 to {HIGHEST_ENERGY_MJ:g}"
    value_mj = number(name, parameter, expected)
    if value_mj > HIGHEST_ENERGY_MJ:
        raise _wrong(name, expected, value_mj)
    wanted.max_energy_uj = float(value_mj * UJ_PER_MJ)


def _read_priority(wanted: Goals, name: str, parameter: InferParameter) -> None:
    expected = f"a whole number from 0 to {HIGHEST_PRIORITY}, 1 being the most urgent and 0 the default"
    value = _whole(name, parameter, expected)
    if value > HIGHEST_PRIORITY:
        raise _wrong(name, expected, value)
    wanted.priority = value


def _read_prefer(wanted: Goals, name: str, parameter: InferParameter) -> None:
    value = _value(parameter)
    try:
        wanted.prefer = Prefer(str(value))
    except ValueError:
        raise _wrong(name, f"one of {', '.join(Prefer)}", value) from None


def _read_variant(wanted: Goals, name: str, parameter: InferParameter) -> None:
    wanted.variant = _text(name, parameter)


def _read_app(wanted: Goals, name: str, parameter: InferParameter) -> None:
    wanted.app = _text(name, parameter)


def _read_processor(wanted: Goals, name: str, parameter: InferParameter) -> None:
    wanted.processor = _text(name, parameter)


def _read_mode(wanted: Goals, name: str, parameter: InferParameter) -> None:
    value = _value(parameter)
    if value not in MODES:
        raise _wrong(name, f"one of {', '.join(MODES)}", value)
    wanted.strict = value == MODES[1]


_READERS: Final[dict[str, Callable[[Goals, str, InferParameter], None]]] = {
    "latency_budget_ms": _read_budget,
    "timeout": _read_timeout,
    "min_accuracy": _read_accuracy,
    "max_energy_mj": _read_energy,
    "priority": _read_priority,
    "prefer": _read_prefer,
    "variant": _read_variant,
    "app": _read_app,
    "processor": _read_processor,
    "processor_mode": _read_mode,
}
