"""Scenarios on the shipped fashion family, small enough to run in a fraction of a second."""

from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab_sim.scenario import Prepared, load_scenario, prepare

Make = Callable[..., Prepared]
STREAM = "workload:\n  - {app: camera, arrivals: {poisson: {rate_per_s: 10}}, latency_budget_ms: 50}\n"
HEAD = "version: 1\nname: small\nseed: 5\nfamily: fashion\n"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that prepares a scenario from the lines given, on top of a small one."""

    def made(more: str = "", *, duration: str = "20s", stream: str = STREAM, head: str = HEAD) -> Prepared:
        text = f"{head}duration: {duration}\n{stream}{more}"
        return prepare(load_scenario(text, str(tmp_path / "small.yaml")))

    return made
