"""Drive the daemon's own scheduler in simulated time."""

from trimtab_sim.arrivals import Arrival, poisson
from trimtab_sim.battery import Battery, Plugged, Surroundings
from trimtab_sim.compare import StrategyRow, compare
from trimtab_sim.driver import DriverSettings, SimulatedDriver, World
from trimtab_sim.hardware import HardwareInTheLoop, Samples
from trimtab_sim.kernel import Kernel, TimeTravelError
from trimtab_sim.record import JournalRecord, read_items
from trimtab_sim.report import RunReport, Served, Watcher
from trimtab_sim.runtime import ModelledRuntime, SimulatedRuntime
from trimtab_sim.totals import Histogram, Totals

__all__ = [
    "Arrival",
    "Battery",
    "DriverSettings",
    "HardwareInTheLoop",
    "Histogram",
    "JournalRecord",
    "Kernel",
    "ModelledRuntime",
    "Plugged",
    "RunReport",
    "Samples",
    "Served",
    "SimulatedDriver",
    "SimulatedRuntime",
    "StrategyRow",
    "Surroundings",
    "TimeTravelError",
    "Totals",
    "Watcher",
    "World",
    "compare",
    "poisson",
    "read_items",
]
