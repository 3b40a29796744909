"""The two acts of the demo, and the same requests again with the strategies that never adapt."""

import platform
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil

from trimtab.adapters.family_store import load_samples
from trimtab.adapters.process_memory import resident_bytes
from trimtab.app import Machinery, Settings, survey_machine
from trimtab.cli.progress import measuring
from trimtab.client import Client
from trimtab.demo.baselines import replay_fixed
from trimtab.demo.scenario import KEEP_AVAILABLE_BYTES, Shot, plan_battery, plan_shots, policy_yaml
from trimtab.demo.theatre import Theatre
from trimtab.demo.view import Cue, Watcher, follow
from trimtab.ports import Array, StoredFamily

TASK = "fashion"
ACT_TWO_S = 12.0
ACT_TWO_SEED = 7
SQUEEZED_BYTES = 5 << 19
"""Room for the last resort and the small quantized variants."""
MEMORY_BYTES = 1 << 30
ON_CHARGER = {"charging": True, "battery_frac": 0.3}


@dataclass(frozen=True, slots=True)
class Cartridge:
    """What both acts need: the family, its samples and this machine's profiles."""

    stored: StoredFamily
    machinery: Machinery
    images: Array
    labels: Array
    warm_up: str


def play(seconds: float) -> dict[str, Any]:
    """Play the demo and return everything it found out; the content of ``demo.json``."""
    with tempfile.TemporaryDirectory(prefix="trimtab-demo-") as name:
        folder = Path(name)
        cartridge = _prepare(folder)
        stored, profiles = cartridge.stored, cartridge.machinery.profiles[TASK]
        shots = plan_shots(seconds, len(cartridge.labels))
        battery = plan_battery(stored.family, profiles, len(shots), seconds)
        click.echo(
            f"virtual battery of {battery.capacity_j:.3g} J, sized from the profiles: always-largest would empty "
            f"it about half-way through {seconds:.0f} s"
        )
        with (
            Theatre(folder, (stored.folder.parent,), battery, policy_yaml(seconds)) as theatre,
            theatre.start() as client,
        ):
            answers, timeline = _act_one(theatre, client, cartridge, shots, seconds)
            second = _act_two(theatre, client, cartridge)
            meter = client.status().energy_meter
        strategies = {"adaptive": summarise(answers, cartridge.labels, timeline)}
        click.echo(
            "\nthe same requests with the strategies that never adapt (real runs, idle time skipped) ..."
        )
        strategies |= replay_fixed(cartridge.stored, cartridge.machinery, shots, battery, seconds)
    return {
        "strategies": strategies,
        "act_two": second,
        "timeline": timeline,
        "battery": {
            "capacity_j": battery.capacity_j,
            "background_mw": battery.background_mw,
            "virtual": True,
        },
        "energy_meter": meter,
        "machine": _machine(cartridge),
        "seconds": seconds,
    }


def _prepare(folder: Path) -> Cartridge:
    with measuring() as progress:
        machinery = survey_machine(Settings(state_folder=folder / "state"), progress, tasks=(TASK,))
    stored = next(s for s in machinery.families if s.family.task == TASK)
    arrays, labels = load_samples(stored)
    return Cartridge(stored, machinery, next(iter(arrays.values())), labels, stored.family.last_resort)


def _act_one(
    theatre: Theatre, client: Client, cartridge: Cartridge, shots: Sequence[Shot], seconds: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    cast = theatre.play(TASK, shots, cartridge.images, cartridge.warm_up, "one")
    watcher = Watcher(client)
    restart_horizon = Cue(0.0, "the horizon begins", lambda: client.set_policy(policy_yaml(seconds)))
    follow(watcher, "act one: the battery drains", cast.starts, seconds, [restart_horizon])
    answers = cast.answers()
    watcher.close()
    return answers, watcher.timeline


def _act_two(theatre: Theatre, client: Client, cartridge: Cartridge) -> dict[str, Any]:
    """Squeeze memory, then add CPU load, then let go; the device hangs on a charger."""
    theatre.set_device(**ON_CHARGER)
    shots = plan_shots(ACT_TWO_S, len(cartridge.labels), ACT_TWO_SEED)
    cast = theatre.play(TASK, shots, cartridge.images, cartridge.warm_up, "two")
    watcher = Watcher(client)
    burning: list[Any] = []

    def let_go() -> None:
        for process in burning:
            process.kill()
        theatre.set_device(**ON_CHARGER)

    cues = [
        Cue(3.0, "another app takes the memory", lambda: _squeeze(theatre, client)),
        Cue(
            6.0,
            "and another one the processor",
            lambda: burning.extend(theatre.burn(psutil.cpu_count() or 1)),
        ),
        Cue(9.0, "both are gone", let_go),
    ]
    follow(watcher, "act two: memory and processor are taken away", cast.starts, ACT_TWO_S, cues)
    answers = cast.answers()
    watcher.close()
    return {
        **summarise(answers, cartridge.labels, watcher.timeline),
        "timeline": watcher.timeline,
        "cues": [{"at_s": cue.at_s, "text": cue.text} for cue in cues],
    }


def _squeeze(theatre: Theatre, client: Client) -> None:
    """Pretend that other apps left the daemon room for little more than its smallest variants."""
    status = client.status()
    own = status.rss_bytes - status.memory_used_bytes + SQUEEZED_BYTES + KEEP_AVAILABLE_BYTES
    theatre.set_device(**ON_CHARGER, memory_total_bytes=MEMORY_BYTES, memory_others_bytes=MEMORY_BYTES - own)


def summarise(answers: list[dict[str, Any]], labels: Array, timeline: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one strategy's row: the same fields as ``baselines`` gives for the others.

    ``energy_j`` is of all runs and loads of the act, ``accuracy`` over answered requests, ``accuracy_all`` counts a request without an answer in time as wrong.
    """
    done = [a for a in answers if a["code"] == "OK"]
    right = [a for a in done if a["label"] == int(labels[a["sample"]])]
    counts = Counter(a["variant"] for a in done)
    ends = [t["battery_frac"] for t in timeline if t["battery_frac"] is not None]
    return {
        "requests": len(answers),
        "answered": len(done),
        "on_time_frac": sum(a["on_time"] for a in done) / max(1, len(answers)),
        "accuracy": len(right) / max(1, len(done)),
        "accuracy_all": sum(a["on_time"] for a in right) / max(1, len(answers)),
        "energy_j": timeline[-1]["energy_used_j"] - timeline[0]["energy_used_j"],
        "battery_end_frac": ends[-1] if ends else None,
        "share": {name: count / max(1, len(done)) for name, count in counts.most_common()},
        "refused": dict(Counter(a["code"] for a in answers if a["code"] != "OK")),
        "round_trip_ms_p50": _percentile([a["round_trip_ms"] for a in done], 0.50),
        "round_trip_ms_p95": _percentile([a["round_trip_ms"] for a in done], 0.95),
    }


def _percentile(values: list[float], frac: float) -> float:
    return sorted(values)[int(frac * (len(values) - 1))] if values else 0.0


def _machine(cartridge: Cartridge) -> dict[str, Any]:
    machine = cartridge.machinery.profiles[TASK].machine
    return {
        "cpu": machine.cpu,
        "cores": machine.cores,
        "memory_bytes": machine.memory_bytes,
        "system": machine.system,
        "runtime": machine.runtime,
        "python": platform.python_version(),
        "power_model": machine.power_model,
        "processors": [p.name for p in cartridge.machinery.processors],
        "demo_rss_bytes": resident_bytes(),
    }
