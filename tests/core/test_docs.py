"""The scheduler's page tells what the code does."""

from pathlib import Path

import pytest

from trimtab.core.lifecycle import ENDINGS, TRANSITIONS
from trimtab.core.prices import Market, energy_price

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scheduler.md"


def life_table() -> str:
    """Return the table of phases as Markdown."""
    rows = ["| Phase | may become | may end as |", "|---|---|---|"]
    for phase, following in TRANSITIONS.items():
        ends = ", ".join(outcome.value for outcome in ENDINGS[phase])
        rows.append(f"| {phase.value} | {', '.join(p.value for p in following) or '-'} | {ends or '-'} |")
    return "\n".join(rows)


def test_the_table_of_phases_is_the_codes() -> None:
    text = PAGE.read_text()
    begin, end = text.index("<!-- begin: life"), text.index("<!-- end: life")
    assert text[begin:end].partition("-->\n")[2].strip() == life_table()


@pytest.mark.parametrize(("budget_j", "price"), [(150.0, 0.2), (300.0, 0.05), (400.0, 0.0)])
def test_the_worked_example_is_right(budget_j: float, price: float) -> None:
    market = Market(100.0, ((1.0, 0.6), (2.0, 0.8), (4.0, 0.9)))
    assert energy_price([market], budget_j).price_per_j == pytest.approx(price)
