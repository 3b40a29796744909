"""Turn the scheduler's state into the snapshot that operators see."""

import psutil

from trimtab.core.estimator import slowdown
from trimtab.core.queueing import queued_on
from trimtab.core.residency import used_bytes
from trimtab.core.state import State
from trimtab.core.tables import settings_for
from trimtab.engine.api import ProcessorStatus, Residency, Status
from trimtab.engine.records import Tally


def snapshot(
    state: State,
    tally: Tally,
    *,
    version: str,
    session: int,
    uptime_ns: int,
    ready: bool,
    energy_meter: str,
    policy_reload_error: str,
    now_ns: int,
) -> Status:
    """Return the daemon's present condition."""
    rules: dict[str, None] = {}
    links = state.links
    for task in state.families:
        rules.update(dict.fromkeys(settings_for(state, task, "", now_ns)[1]))
    return Status(
        version=version,
        session=session,
        uptime_ns=uptime_ns,
        ready=ready,
        draining=state.draining,
        device=state.device,
        energy_meter=energy_meter,
        policy=state.policy.name,
        policy_reload_error=policy_reload_error,
        active_rules=tuple(rules),
        energy_price_per_j=state.energy.price_per_j,
        memory_limit_bytes=state.memory_limit_bytes,
        memory_used_bytes=used_bytes(state),
        rss_bytes=psutil.Process().memory_info().rss,
        in_flight=len(state.live),
        processors=tuple(
            ProcessorStatus(
                processor=processor,
                slowdown=slowdown(state.estimates[name]),
                busy=name in state.running or any(o.processor == name for o in state.away.values()),
                queued=queued_on(state, name),
                served=tally.served.get(name, 0),
                reachable=links[name].reachable if name in links else True,
                round_trip_ns=links[name].round_trip_ns if name in links else 0,
            )
            for name, processor in state.processors.items()
        ),
        resident=tuple(
            Residency(r.task, r.variant, r.pool, r.holding.value, r.resident_bytes, r.uses)
            for r in state.residences.values()
        ),
        outcomes=dict(tally.outcomes),
        on_time=tally.on_time,
        energy_used_uj=state.energy.total_uj,
        cost_usd=tally.cost_usd,
    )
