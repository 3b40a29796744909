"""Scalars people write, as exact numbers."""

import pytest

from trimtab.policy.document import plain_scalar
from trimtab.policy.scalars import day_time_s, duration_ns, fraction, size_bytes, yes_or_no


@pytest.mark.parametrize(
    ("written", "value"),
    [("15 %", 0.15), ("15%", 0.15), (0.15, 0.15), (" 0.1 %", 0.001), ("100 %", 1.0), (1, 1.0)],
)
def test_fractions(written: str | float, value: float) -> None:
    assert fraction(written) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("64MiB", 64 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("1 kB", 1000),
        ("1KB", 1000),
        ("2 KiB\n", 2048),
        ("3GiB", 3 * 2**30),
        ("7B", 7),
        ("1MB", 10**6),
        (512, 512),
        (512.0, 512),
    ],
)
def test_sizes(written: str | float, value: int) -> None:
    assert size_bytes(written) == value


@pytest.mark.parametrize(
    ("written", "value_ms"),
    [
        ("8h", 28_800_000),
        ("90min", 5_400_000),
        ("40s", 40_000),
        ("500ms", 500),
        ("1h 30min", 5_400_000),
        ("1d", 86_400_000),
        ("1.5 s", 1500),
    ],
)
def test_durations(written: str, value_ms: int) -> None:
    assert duration_ns(written) == value_ms * 10**6


@pytest.mark.parametrize(
    ("written", "value"), [("00:00", 0), ("7:30", 27_000), ("22:00", 79_200), ("23:59", 86_340)]
)
def test_times_of_day(written: str, value: int) -> None:
    assert day_time_s(written) == value


@pytest.mark.parametrize(
    ("written", "value"), [(True, True), ("yes", True), ("on", True), ("no", False), ("off", False)]
)
def test_truth(written: str | bool, value: bool) -> None:
    assert yes_or_no(written) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("12", 12),
        ("-012", -12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("22:00", "22:00"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("2001-01-01", "2001-01-01"),
        ("9" * 41, "9" * 41),
    ],
)
def test_unquoted_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)
