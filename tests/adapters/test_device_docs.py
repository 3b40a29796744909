"""What docs/device.md says is so."""

import re
from pathlib import Path

import pytest

from trimtab.adapters.energy import CORE_MW, SHARED_MW
from trimtab.adapters.virtual_device import FileDevice

DOCS = Path(__file__).parents[2] / "docs" / "device.md"


def test_the_virtual_device_of_the_docs_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    path = tmp_path / "device.yaml"
    path.write_text(block)
    assert FileDevice(path).read().battery_frac == pytest.approx(0.35)


def test_the_constants_of_the_docs_are_used() -> None:
    rows = re.findall(r"^\| `([a-z-]+)`[^|]*\| (\d+) \| (\d+) \|$", DOCS.read_text(), re.MULTILINE)
    assert {name: float(core) for name, core, _ in rows} == CORE_MW
    assert {name: float(shared) for name, _, shared in rows if shared != "0"} == SHARED_MW
