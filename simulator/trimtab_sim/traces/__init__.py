"""Traces: what a device and its users did, recorded or made up, as input to the simulator."""

from trimtab_sim.traces.load import detect, load_arrivals, load_series, load_trace
from trimtab_sim.traces.series import (
    ARRIVAL_COLUMNS,
    ARRIVAL_LABELS,
    COLUMNS,
    ArrivalReading,
    ArrivalTrace,
    Column,
    Labels,
    Problem,
    Reading,
    Series,
    TraceError,
)
from trimtab_sim.traces.store import csv_bytes, write_trace

__all__ = [
    "ARRIVAL_COLUMNS",
    "ARRIVAL_LABELS",
    "COLUMNS",
    "ArrivalReading",
    "ArrivalTrace",
    "Column",
    "Labels",
    "Problem",
    "Reading",
    "Series",
    "TraceError",
    "csv_bytes",
    "detect",
    "load_arrivals",
    "load_series",
    "load_trace",
    "write_trace",
]
