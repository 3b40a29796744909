"""Which variants a daemon offers."""

from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.app import _offered
from trimtab.ports import StoredFamily
from trimtab.testing import tiny_family


@pytest.mark.parametrize(
    ("all_variants", "offered"), [(False, ["large", "small"]), (True, ["large", "small", "staged"])]
)
def test_dominated_variants_are_offered_only_when_asked_for(all_variants: bool, offered: list[str]) -> None:
    family = tiny_family()
    marked = tuple(replace(v, dominated="another is better") for v in family.variants)
    stored = StoredFamily(replace(family, variants=marked), Path("nowhere"))
    served = _offered(stored, {}, all_variants)
    assert [v.name for v in served.family.variants] == offered  # reference and last resort always stay


def test_without_marks_all_are_offered() -> None:
    stored = StoredFamily(tiny_family(), Path("nowhere"))
    assert _offered(stored, {}, False) == stored
