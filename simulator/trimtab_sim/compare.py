"""The same requests under several strategies, each with a fresh scheduler, runtime and battery."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from trimtab.domain.policy import Policy
from trimtab_sim.arrivals import Arrival
from trimtab_sim.battery import Device
from trimtab_sim.driver import DriverSettings, SimulatedDriver, World
from trimtab_sim.report import RunReport
from trimtab_sim.runtime import SimulatedRuntime


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """How one strategy did.

    ``on_time_frac`` is over all requests. ``accuracy`` is the share of correct answers among the answers,
    late ones included; ``accuracy_all`` the share of all requests answered correctly and on time, so that one
    refused, expired or late counts as wrong. Both are ``None`` without labels. ``energy_j`` is that of runs
    and loads above idle, ``share`` each variant's share of the answers.
    """

    requests: int
    on_time_frac: float
    accuracy: float | None
    accuracy_all: float | None
    energy_j: float
    share: dict[str, float]
    battery_end_frac: float | None
    battery_empty_ns: int | None
    rejected: int
    expired: int
    failed: int

    @classmethod
    def of(cls, report: RunReport) -> "StrategyRow":
        """Return the row of a run."""
        outcomes = report.outcomes()
        return cls(
            requests=report.requests,
            on_time_frac=report.on_time_frac,
            accuracy=report.accuracy,
            accuracy_all=report.accuracy_all,
            energy_j=report.energy_j,
            share=report.share(),
            battery_end_frac=report.battery_end_frac,
            battery_empty_ns=report.battery_empty_ns,
            rejected=outcomes["rejected"],
            expired=outcomes["expired"],
            failed=outcomes["failed"],
        )


def compare(
    strategies: Iterable[str],
    arrivals: Sequence[Arrival],
    world: World,
    policy: Policy,
    runtime: Callable[[], SimulatedRuntime],
    *,
    device: Callable[[int], Device] | None = None,
    settings: DriverSettings | None = None,
) -> dict[str, StrategyRow]:
    """Return a row per strategy; strategies are named as in a policy (``value``, ``largest`` ...).

    Arrival times count from the moment the simulated daemon is ready. ``runtime`` makes a runtime, ``device``
    a device at its start time in ns; both are asked once per strategy.
    """
    settings = settings or DriverSettings()
    rows: dict[str, StrategyRow] = {}
    for name in strategies:
        executes = runtime()
        condition = None if device is None else device(settings.start_ns)
        driver = SimulatedDriver(world, replace(policy, strategy=name), executes, condition, settings)
        try:
            ready_ns = driver.start()
            moved = (Arrival(ready_ns + a.at_ns, a.request, a.sample) for a in arrivals)
            rows[name] = StrategyRow.of(driver.run(moved))
        finally:
            executes.close()
    return rows
