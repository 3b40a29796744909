"""The demo's theatre: a real daemon process on its own socket, app processes, and a device file to squeeze."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.client import Client, TrimtabError
from trimtab.demo.scenario import APPS, BatteryPlan, Shot, split_by_app
from trimtab.ports import Array

START_TIMEOUT_S = 60.0
SENSOR_S = 0.25
LEAD_S = 1.5
"""Time that app processes get to start before their first request."""


class DemoError(Exception):
    """The demo could not be played; the message holds what the daemon or an app said."""


class Theatre:
    """Everything the demo starts lives here and ends with it; use as a context manager."""

    def __init__(self, folder: Path, families: tuple[Path, ...], battery: BatteryPlan, policy: str) -> None:
        """Prepare files in ``folder``; ``start`` starts the daemon."""
        self.folder = folder
        self.address = f"unix:{folder / 'demo.sock'}"
        self._families = families
        self._battery = battery
        self._device = folder / "device.json"
        self._log = folder / "daemon.log"
        (folder / "policy.yaml").write_text(policy)
        self.set_device()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Theatre":
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def set_device(self, **fields: Any) -> None:
        """Overlay these sensor readings from now on; without any, the real ones hold again."""
        fresh = self._device.with_suffix(".new")
        fresh.write_text(json.dumps(fields))
        fresh.replace(self._device)

    def start(self) -> Client:
        """Start the daemon and return a client once it is ready."""
        battery = self._battery
        command = [
            *(sys.executable, "-m", "trimtab", "serve"),
            *("--socket", str(self.folder / "demo.sock"), "--state", str(self.folder / "state")),
            *("--policy", str(self.folder / "policy.yaml"), "--device-file", str(self._device)),
            *("--virtual-battery", f"{battery.capacity_j}:1:{battery.background_mw}"),
            *("--sensor-interval", str(SENSOR_S), "--log-level", "warning"),
        ]
        for folder in self._families:
            command += ["--families", str(folder)]
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
        client = Client(self.address, app="demo")
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._daemon.poll() is None:
            try:
                if client.status().ready:
                    return client
            except TrimtabError:
                time.sleep(0.05)
        client.close()
        raise DemoError(f"the daemon did not start:\n{self._log.read_text()[-2000:]}")

    def play(self, task: str, shots: Sequence[Shot], images: Array, warm_up: str, name: str) -> "Cast":
        """Start one process per app and return the running cast; the first request comes at ``starts``."""
        image_file = self.folder / "images.npy"
        np.save(image_file, images)
        starts = time.time() + LEAD_S
        files: list[Path] = []
        running: list[subprocess.Popen[bytes]] = []
        for app in APPS:
            plan = {
                "address": self.address,
                "app": app.name,
                "task": task,
                "priority": app.priority,
                "images": str(image_file),
                "start_s": starts,
                "warm_up": warm_up,
                "shots": [(shot.at_ns, shot.sample) for shot in split_by_app(shots)[app.name]],
            }
            plan_file = self.folder / f"{name}-{app.name}.plan.json"
            plan_file.write_text(json.dumps(plan))
            files.append(self.folder / f"{name}-{app.name}.answers.json")
            command = [sys.executable, "-m", "trimtab.demo.caller", str(plan_file), str(files[-1])]
            running.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        self._others += running
        return Cast(starts, running, files)

    def burn(self, processes: int) -> list[subprocess.Popen[bytes]]:
        """Start processes that keep a core busy each; end them with ``kill``."""
        burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
        self._others += burning
        return burning

    def stop(self) -> None:
        """End every process, the daemon by draining."""
        for process in self._others:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()
            try:
                self._daemon.wait(15.0)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()


class Cast:
    """The app processes of one act."""

    def __init__(self, starts: float, running: list[subprocess.Popen[bytes]], files: list[Path]) -> None:
        """Keep the wall time of the first request, the processes and the files they will write."""
        self.starts = starts
        self._running = running
        self._files = files

    def answers(self) -> list[dict[str, Any]]:
        """Wait for every app and return all answers by time; raise ``DemoError`` when an app failed."""
        found: list[dict[str, Any]] = []
        for process, file in zip(self._running, self._files, strict=True):
            _, errors = process.communicate()
            if process.returncode != 0:
                raise DemoError(f"an app failed:\n{errors.decode(errors='replace')[-2000:]}")
            found.extend(json.loads(file.read_text()))
        return sorted(found, key=lambda answer: (answer["at_ns"], answer["app"]))
