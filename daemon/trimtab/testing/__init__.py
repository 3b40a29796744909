"""Fakes of every port, and conformance suites that fakes and real adapters alike must pass.

For tests of trimtab and of third-party adapters; nothing here needs a test framework::

    RuntimeConformance(make=MyRuntime, stored=family, inputs=arrays).check_all()
"""

from trimtab.testing.conformance import (
    ClockConformance,
    Conformance,
    JournalConformance,
    MeterConformance,
    PolicySourceConformance,
    RuntimeConformance,
    SensorsConformance,
    StoreConformance,
)
from trimtab.testing.fakes import (
    FakeMeter,
    FakePolicySource,
    FakeRuntime,
    FakeSensors,
    FakeStore,
    ManualClock,
    MemoryJournal,
    RecordingObserver,
    tiny_family,
    tiny_processors,
)

__all__ = [
    "FakeMeter",
    "FakePolicySource",
    "FakeRuntime",
    "FakeSensors",
    "FakeStore",
    "ManualClock",
    "MemoryJournal",
    "RecordingObserver",
    "tiny_family",
    "tiny_processors",
    "Conformance",
    "ClockConformance",
    "JournalConformance",
    "MeterConformance",
    "PolicySourceConformance",
    "RuntimeConformance",
    "SensorsConformance",
    "StoreConformance",
]
