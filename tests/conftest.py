"""Real daemons on real sockets, for every test that needs one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings

from trimtab.adapters.family_store import load_family, load_samples, shipped_families
from trimtab.client import Client
from trimtab.ports import Array

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
READY = "trimtab serves"
START_S = 30.0


def environment() -> dict[str, str]:
    """Return an environment in which ``python -m trimtab`` runs from this checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRIMTAB_", "XDG_", "COV_"))}
    paths = [str(ROOT / name) for name in ("daemon", "models", "simulator")]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


@dataclass
class Daemon:
    """A ``trimtab serve`` process. ``folder`` holds its socket, state and log."""

    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    log_path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log_path = self.folder / "daemon.log"

    @property
    def socket(self) -> Path:
        return self.folder / "t.sock"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def address(self) -> str:
        return f"unix:{self.socket}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process without waiting for it."""
        command = [sys.executable, "-m", "trimtab", "serve"]
        command += ["--socket", str(self.socket), "--state", str(self.state), *self.options]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment(), stderr=log, stdout=log)
        return self.process

    def start(self) -> "Daemon":
        """Start the process and wait until it is ready."""
        seen = self.log.count(READY) if self.log_path.exists() else 0
        process = self.launch()
        until(lambda: self.log.count(READY) > seen or process.poll() is not None, START_S)
        assert process.poll() is None, self.log
        return self

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Return the exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """End the process in order and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Make sure that nothing is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def client(self, app: str = "test") -> Client:
        return Client(self.address, app=app)


def until(true: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until ``true`` is; fail after ``timeout_s``."""
    give_up = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    return until


@pytest.fixture(scope="session")
def daemon_environment() -> dict[str, str]:
    return environment()


@pytest.fixture(scope="session")
def profiles_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return profiles of the shipped families on this machine, measured once for all tests."""
    state = tmp_path_factory.mktemp("measured")
    command = [sys.executable, "-m", "trimtab", "profile", "--budget", "0.5", "--state", str(state)]
    subprocess.run(command, check=True, env=environment(), capture_output=True, timeout=60)
    return state / "profiles"


@pytest.fixture(scope="module")
def make_daemon(
    profiles_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Daemon]]:
    """Return a function that makes a daemon, not started yet, which knows this machine's profiles."""
    made: list[Daemon] = []

    def make(*options: str) -> Daemon:
        folder = tmp_path_factory.mktemp("daemon")
        shutil.copytree(profiles_folder, folder / "state" / "profiles")
        made.append(Daemon(folder, options))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture(scope="module")
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """Return a running daemon with default options, shared by the tests of a module."""
    return make_daemon().start()


@pytest.fixture(scope="session")
def samples() -> tuple[Array, Array]:
    """Return images and labels of the shipped family."""
    arrays, labels = load_samples(load_family(shipped_families() / "fashion"))
    return arrays["image"], labels
