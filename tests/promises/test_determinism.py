"""Same seed, same bytes: in another process and under another hash seed too."""

import os
import subprocess
import sys
from pathlib import Path

from trimtab_sim import read_items

SCRIPT = Path(__file__).with_name("simulated_run.py")


def journal(seed: int, hash_seed: int) -> bytes:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(seed)], env=environment, capture_output=True, check=True, timeout=60
    )
    return done.stdout


def test_same_seed_gives_the_same_bytes_in_another_process() -> None:
    first, second = journal(7, hash_seed=1), journal(7, hash_seed=4242)
    assert first == second
    assert len(list(read_items(first))) > 5000


def test_another_seed_gives_another_run() -> None:
    assert journal(7, hash_seed=1) != journal(8, hash_seed=1)
