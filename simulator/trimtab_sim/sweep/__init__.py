"""Sweeps: one scenario under every combination of devices, traces, policies and seeds, on many cores."""

from trimtab_sim.sweep.plan import Cell, Plan, load_plan
from trimtab_sim.sweep.pools import DaskPool, LocalPool, Pool, PoolError
from trimtab_sim.sweep.run import SweepOutcome, sweep
from trimtab_sim.sweep.store import Store, StoreError

__all__ = [
    "Cell", "DaskPool", "LocalPool", "Plan", "Pool", "PoolError", "Store", "StoreError", "SweepOutcome", "load_plan",
    "sweep",
]  # fmt: skip
