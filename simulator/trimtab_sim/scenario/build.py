"""A checked document -> a ``Scenario``: a plain mapping of names and units, no checks left."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from trimtab.domain.policy import BelowReserve, Filter
from trimtab.domain.quantities import NS_PER_MS, UJ_PER_MJ
from trimtab.domain.request import Prefer, Request
from trimtab.policy.build import DAYS, money_goal
from trimtab.policy.scalars import day_time_s, duration_ns, fraction
from trimtab_sim.scenario.model import (
    BackgroundTrace,
    BatterySpec,
    DeviceChoice,
    Document,
    FamilyChoice,
    ProcessorChoice,
    Scenario,
    Slowdown,
    Stream,
)

Part = Mapping[str, Any]

DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "file": {},
    "regular": {},
    "poisson": {},
    "gamma": {"cv": 2.0},
    "diurnal": {"peak": "20:00", "swing": 0.8},
    "bursts": {"quiet_rate_per_s": 0.0, "busy": "10s", "quiet": "50s"},
    "sessions": {"session": "4min", "pause": "13min"},
}
"""What each kind of arrivals has when the document leaves it out; the schema tells the same."""


def build_scenario(document: Document) -> Scenario:
    """Return the scenario a document describes; it must have passed the schema and the cross checks."""
    data = cast("dict[str, Any]", document.root.plain())
    duration = data.get("duration")
    return Scenario(
        document=document,
        name=data["name"].strip(),
        description=data.get("description", "").strip(),
        seed=int(data.get("seed", 0)),
        duration_ns=None if duration is None else duration_ns(duration),
        start_s=day_time_s(data.get("start", "00:00")),
        weekday=DAYS[data.get("day", "mon")][0],
        device=_device(data.get("device", "none")),
        families=tuple(_family(one) for one in _listed(data["family"])),
        processors=tuple(_processor(one) for one in data.get("processors", ())),
        streams=_streams(data["workload"]),
        battery=_battery(data["battery"]) if "battery" in data else None,
        background=tuple(_background(one) for one in data.get("background", ())),
        contention=tuple(_slowdown(one) for one in data.get("contention", ())),
        policies=tuple(_listed(data.get("policy", "balanced"))),
        strategies=tuple(_listed(data.get("strategy", []))),
        money=money_goal(data["money"]) if "money" in data else None,
    )


def _listed(given: Any) -> Sequence[Any]:
    """Return a list, or the one thing that stands for a list of one."""
    return given if isinstance(given, list) else [given]


def _patterns(given: Any) -> Filter:
    """Return a filter that allows what one of the patterns matches."""
    return Filter(tuple(pattern.strip() for pattern in _listed(given)))


def _device(given: Any) -> DeviceChoice | None:
    if given == "none":
        return None
    if isinstance(given, str):
        return DeviceChoice(given.strip())
    return DeviceChoice(given["profile"], float(given["ambient_c"]) if "ambient_c" in given else None)


def _family(given: Any) -> FamilyChoice:
    if isinstance(given, str):
        return FamilyChoice(given.strip())
    return FamilyChoice(
        source=given["source"].strip(),
        tasks=_patterns(given.get("tasks", [])),
        variants=_patterns(given.get("variants", [])),
        all_variants=given.get("all_variants", False),
        options=given.get("options", {}),
    )


def _processor(given: Any) -> ProcessorChoice:
    if isinstance(given, str):
        return ProcessorChoice(given.strip())
    return ProcessorChoice(
        name=given["name"],
        like=given["like"],
        latency_factor=float(given.get("latency_factor", 1.0)),
        energy_factor=float(given["energy_factor"]) if "energy_factor" in given else None,
        cores=tuple(given["cores"]) if "cores" in given else None,
        usd_per_request=float(given["usd_per_request"]) if "usd_per_request" in given else None,
        usd_per_ms=float(given["usd_per_ms"]) if "usd_per_ms" in given else None,
        concurrent=given.get("concurrent"),
    )


def _streams(given: Sequence[Part]) -> tuple[Stream, ...]:
    """Return the streams; those without a name are called after app or task, numbered from the second on."""
    seen: Counter[str] = Counter(part["name"] for part in given if "name" in part)
    streams = []
    for part in given:
        tasks = tuple(_listed(part.get("task", [])))
        name = part.get("name")
        if name is None:
            name = part.get("app") or (tasks[0] if tasks else "requests")
            seen[name] += 1
            name = name if seen[name] == 1 else f"{name}-{seen[name]}"
        streams.append(_stream(part, name, tasks))
    return tuple(streams)


def _stream(part: Part, name: str, tasks: tuple[str, ...]) -> Stream:
    arrivals = part["arrivals"]
    given: Part = {"file": arrivals} if isinstance(arrivals, str) else arrivals
    kind = next(iter(given))
    samples = part.get("samples", {})
    return Stream(
        name=name,
        request=_request(part, tasks[0] if tasks else ""),
        kind=kind,
        figures=given if kind == "file" else {**DEFAULTS[kind], **given[kind]},
        tasks=tasks,
        begin_ns=duration_ns(part["begin"]) if "begin" in part else 0,
        until_ns=duration_ns(part["until"]) if "until" in part else None,
        speed=float(part.get("speed", 1.0)),
        repeat=part.get("repeat", False),
        limit=part.get("limit"),
        samples=samples.get("count", 0),
        random_samples=samples.get("order") == "random",
    )


def _request(part: Part, task: str) -> Request:
    budget_ms, energy_mj = part.get("latency_budget_ms"), part.get("max_energy_mj")
    return Request(
        request_id="",
        task=task,
        app=part.get("app", ""),
        latency_budget_ns=None if budget_ms is None else round(budget_ms * NS_PER_MS),
        min_accuracy_frac=fraction(part["min_accuracy"]) if "min_accuracy" in part else None,
        max_energy_uj=None if energy_mj is None else float(energy_mj * UJ_PER_MJ),
        priority=part.get("priority", 0),
        prefer=Prefer(part.get("prefer", Prefer.VALUE)),
        variant=part.get("variant", ""),
        batch=part.get("batch", 1),
    )


def _battery(part: Part) -> BatterySpec:
    def joules(key: str) -> float | None:
        return float(part[key]) if key in part else None

    def share(key: str) -> float | None:
        return fraction(part[key]) if key in part else None

    return BatterySpec(
        capacity_j=joules("capacity_j"),
        energy_j=joules("energy_j"),
        level_frac=share("level"),
        health_frac=share("health"),
        background_mw=float(part.get("background_mw", 0.0)),
        reserve_frac=share("reserve"),
        horizon_ns=duration_ns(part["horizon"]) if "horizon" in part else None,
        last_until_s=day_time_s(part["last_until"]) if "last_until" in part else None,
        below_reserve=BelowReserve(part["below_reserve"]) if "below_reserve" in part else None,
        off_when_empty=part.get("when_empty", "off") == "off",
    )


def _background(given: Any) -> BackgroundTrace:
    if isinstance(given, str):
        return BackgroundTrace(given.strip())
    return BackgroundTrace(
        file=given["file"].strip(),
        columns=tuple(given.get("columns", ())),
        begin_ns=duration_ns(given["begin"]) if "begin" in given else 0,
        repeat=given.get("repeat", False),
    )


def _slowdown(part: Part) -> Slowdown:
    processors = _patterns(part.get("processor", []))
    if "switching" in part:
        process = part["switching"]
        on_ns, off_ns = duration_ns(process["on"]), duration_ns(process["off"])
        shared = process.get("shared", False)
        return Slowdown(processors, ((0, float(process["factor"])),), True, on_ns, off_ns, shared)
    if "jitter" in part:
        tail = float(part["jitter"]["scale"]), float(part["jitter"]["shape"])
        return Slowdown(processors, ((0, 1.0),), jitter=tail)
    if "steps" in part:
        steps = tuple((duration_ns(step["at"]), float(step["factor"])) for step in part["steps"])
        return Slowdown(processors, steps)
    begin_ns = duration_ns(part["begin"]) if "begin" in part else 0
    end = ((duration_ns(part["until"]), 1.0),) if "until" in part else ()
    return Slowdown(processors, ((begin_ns, float(part["factor"])), *end))
