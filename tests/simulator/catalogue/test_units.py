from fractions import Fraction

import pytest

from trimtab_sim.catalogue.units import ENERGY_UJ, SIZE_BYTES, TIME_NS, above_zero, count, number, whole


@pytest.mark.parametrize(
    ("text", "unit", "ns"),
    [
        ("0.8", "ms", 800_000),
        ("1e-3", "s", 1_000_000),
        ("167.1", "ms", 167_100_000),
        ("2.5", "us", 2_500),
        ("7", "ns", 7),
    ],
)
def test_times_are_converted_exactly(text: str, unit: str, ns: int) -> None:
    assert number(text) * TIME_NS[unit] == ns


def test_what_floats_would_round_is_exact() -> None:
    assert whole(number("0.1") + number("0.2"), TIME_NS["s"]) == 300_000_000
    assert number("3.8") * ENERGY_UJ["mj"] == 3800
    assert number("44.6") * SIZE_BYTES["mib"] == Fraction(446, 10) * 2**20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.00G", 10**9),
        ("394M", 394_000_000),
        ("8.3M", 8_300_000),
        ("91.9K", 91_900),
        ("7.07B", 7_070_000_000),
        ("12", 12),
    ],
)
def test_counts_with_a_letter(text: str, value: int) -> None:
    assert count(text) == value


@pytest.mark.parametrize("text", ["", "fast", "1_0", "nan", "inf", "1e400", "1e-400", "--1", "12 ms"])
def test_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        number(text)


@pytest.mark.parametrize(("text", "message"), [("0", "not above 0"), ("-3", "not above 0")])
def test_zero_latency_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        above_zero(text)


@pytest.mark.parametrize("text", ["4x", "-1M", "M", "1Q"])
def test_no_count(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|below 0"):
        count(text)
