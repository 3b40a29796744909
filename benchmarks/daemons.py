"""A daemon process for benchmarks, with profiles measured once."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
READY = "trimtab serves"


def environment() -> dict[str, str]:
    """Return an environment in which ``python -m trimtab`` runs from this checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT / "daemon")}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Yield address, process and seconds until ready of a daemon that keeps its state in ``folder``."""
    socket, log = folder / "t.sock", folder / "daemon.log"
    command = [sys.executable, "-m", "trimtab", "serve", "--socket", str(socket)]
    command += ["--state", str(folder / "state"), "--log-level", "warning", *options]
    began_s = time.perf_counter()
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=environment(), stderr=out, stdout=out) as process,
    ):
        try:
            while READY not in log.read_text():
                if process.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.002)
            yield f"unix:{socket}", process, time.perf_counter() - began_s
        finally:
            process.terminate()
            process.wait(30)
