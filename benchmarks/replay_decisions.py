"""Decisions re-made from the journal of a real daemon: by default more than 100,000 requests over real sockets.

    python benchmarks/replay_decisions.py [--json] [--requests 110000] [--keep FOLDER]

A daemon process (``trimtab serve``) serves a tenth of the requests in its first session and the rest in its
second, with much happening that decisions depend on: several tasks, apps, budgets, floors, priorities and pinned
variants, callers who leave, policies put in force, a battery that drains and memory that is taken away. Then
``trimtab replay`` makes every decision of each session again, in a process of its own whose largest resident
memory shows whether it grows with the journal.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemons import environment, serving
from traffic import Magazine, Shot, closed_loop, samples_of

TASKS = ("activity", "fashion", "keywords")
IN_FLIGHT = 12
FIRST_SESSION_SHARE = 0.1
POLICIES = ("balanced", "battery-saver", "low-latency", "best-accuracy")
DISTURB_EVERY_S = 1.5
MIB = 1 << 20


def shots(rng: random.Random, count: int) -> Iterator[Shot]:
    """Yield requests with all kinds of goals; one in 100 has a caller who leaves after a millisecond or two."""
    for _ in range(count):
        goals: dict[str, Any] = {
            "app": rng.choice(("camera", "keyboard", "gallery")),
            "latency_budget_ms": rng.choice((2, 5, 10, 30, 100)),
        }
        if rng.random() < 0.3:
            goals["min_accuracy"] = rng.choice((0.85, 0.88, 0.9, 0.93))
        if rng.random() < 0.1:
            goals["priority"] = rng.choice((1, 2))
        if rng.random() < 0.1:
            goals["prefer"] = rng.choice(("accuracy", "energy", "latency"))
        timeout_s = rng.choice((0.001, 0.002)) if rng.random() < 0.01 else None
        yield Shot(0.0, rng.choice(TASKS), goals, timeout_s)


async def disturb(address: str, device: Path, rng: random.Random) -> None:
    """Drain the battery, take memory away and change the policy, again and again."""
    from trimtab.client import Client
    from trimtab.policy import read_policy_text, resolve_name

    level_frac = 0.9
    with Client(address) as client:
        while True:
            await asyncio.sleep(DISTURB_EVERY_S)
            level_frac = level_frac - 0.03 if level_frac > 0.1 else 0.9
            write_device(device, level_frac, rng.choice((24, 60, 400)) * MIB, rng.random() < 0.2)
            if rng.random() < 0.25:
                text = read_policy_text(resolve_name(rng.choice(POLICIES)))
                await asyncio.to_thread(client.set_policy, text)


def write_device(path: Path, level_frac: float, available_bytes: int, charging: bool) -> None:
    """Replace the virtual device's file."""
    figures = {
        "battery_frac": round(level_frac, 3),
        "battery_capacity_j": 500.0,
        "charging": charging,
        "memory_available_bytes": available_bytes,
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(figures))
    fresh.replace(path)


async def _serve(address: str, device: Path, count: int, magazine: Magazine, seed: int) -> Counter[str]:
    rng = random.Random(seed)
    disturbing = asyncio.create_task(disturb(address, device, rng))
    try:
        return await closed_loop(address, shots(random.Random(seed + 1), count), magazine, IN_FLIGHT)
    finally:
        disturbing.cancel()
        await asyncio.gather(disturbing, return_exceptions=True)


def record(folder: Path, requests: int) -> dict[str, Any]:
    """Serve the requests in two sessions of one journal; return counts by status and how long it took."""
    device, magazine = folder / "device.json", Magazine(samples_of(TASKS))
    options = ("--device-file", str(device), "--journal-limit", "16000", "--sensor-interval", "0.2")
    codes: Counter[str] = Counter()
    began_s = time.perf_counter()
    first = int(requests * FIRST_SESSION_SHARE)
    for seed, count in ((1, first), (3, requests - first)):
        write_device(device, 0.9, 400 * MIB, False)
        with serving(folder, *options) as (address, _, _):
            codes += asyncio.run(_serve(address, device, count, magazine, seed))
    return {"codes": dict(codes), "recorded_in_s": time.perf_counter() - began_s}


def replay(journal: Path, session: int) -> dict[str, Any]:
    """Return what ``trimtab replay`` says of a session, how long it took and its largest resident memory."""
    command = [sys.executable, "-m", "trimtab", "replay", str(journal), "--session", str(session), "--json"]
    env = environment()
    env["PYTHONPATH"] += os.pathsep + str(Path(__file__).parent.parent / "simulator")
    began_s = time.perf_counter()
    with tempfile.TemporaryFile() as output, subprocess.Popen(command, env=env, stdout=output) as process:
        peak_mb = 0.0
        while process.poll() is None:
            peak_mb = peak_rss_mb(process.pid) or peak_mb
            time.sleep(0.02)
        took_s = time.perf_counter() - began_s
        output.seek(0)
        found: dict[str, Any] = json.loads(output.read())
    return found | {"took_s": took_s, "peak_rss_mb": peak_mb}


def peak_rss_mb(pid: int) -> float:
    """Return the largest resident set of a process so far, 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def measure(requests: int, folder: Path) -> dict[str, Any]:
    """Record and replay."""
    recorded = record(folder, requests)
    journal = folder / "state" / "journal.sqlite"
    sessions = [replay(journal, session) for session in (1, 2)]
    decided = sum(one["decisions"]["recorded"] for one in sessions)
    return {
        "requests": sum(one["requests"] for one in sessions),
        "journal_mb": journal.stat().st_size / 1e6,
        **recorded,
        "decisions": decided,
        "remade_frac": sum(one["decisions"]["remade"] for one in sessions) / decided,
        "exact": all(one["exact"] for one in sessions),
        "sessions": sessions,
    }


def show(found: dict[str, Any]) -> None:
    """Print the figures."""
    from trimtab.cli.output import table

    print(
        f"{found['requests']} requests to a daemon process over its Unix-domain socket in {found['recorded_in_s']:.0f} s, "
        f"journal of {found['journal_mb']:.0f} MB; answers: {found['codes']}"
    )
    names = ("decisions", "answers", "commands", "checkpoints")
    rows = [
        (
            number,
            one["requests"],
            one["rows"],
            *(f"{one[name]['remade']} of {one[name]['recorded']}" for name in names),
            f"{one['took_s']:.1f}",
            f"{one['peak_rss_mb']:.0f}",
        )
        for number, one in enumerate(found["sessions"], 1)
    ]
    table(("session", "requests", "rows", *(f"{name} made again" for name in names), "s", "peak MB"), rows)
    for one in found["sessions"]:
        for difference in one["differences"]:
            print("\n".join(difference))
    share = 100 * found["remade_frac"]
    print(f"decisions made again: {share:.4f} %{'' if found['exact'] else ' - NOT EXACT'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=110_000)
    parser.add_argument("--keep", type=Path, help="keep the daemon's folder and journal here")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True)
        found = measure(given.requests, given.keep)
    else:
        with tempfile.TemporaryDirectory(prefix="trimtab-replay-") as name:
            found = measure(given.requests, Path(name))
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
