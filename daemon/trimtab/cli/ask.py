"""``trimtab infer | status``: talk to a running daemon."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.output import address_option, fail, json_option, mib, plain, print_json, table, user_errors
from trimtab.domain.request import Prefer

if TYPE_CHECKING:
    from trimtab.engine.api import Status


@click.command()
@click.argument("task")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--sample", type=click.IntRange(min=0), help="Send this test sample of the shipped family instead of FILE.")  # fmt: skip
@click.option("--budget", type=click.FloatRange(min=0, min_open=True), metavar="MS", help="Latency budget in milliseconds.")  # fmt: skip
@click.option("--min-accuracy", type=click.FloatRange(0, 1), metavar="FRAC", help="Accuracy floor, e.g. 0.9.")
@click.option("--max-energy", type=click.FloatRange(min=0, min_open=True), metavar="MJ", help="Energy limit in millijoules.")  # fmt: skip
@click.option("--priority", type=click.IntRange(min=0), default=0, help="1 is the most urgent; 0 is the default class.")  # fmt: skip
@click.option("--prefer", type=click.Choice([p.value for p in Prefer]), help="What to prefer when all goals are met.")  # fmt: skip
@click.option("--variant", help="Pin one variant by name.")
@click.option("--processor", help="Ask for a processor, by name or pattern; another one serves if need be.")
@click.option("--strict", is_flag=True, help="Let no other processor than --processor serve.")
@click.option("--app", default="trimtab-cli", show_default=True, help="App id, as policies' rules see it.")
@address_option
@json_option
@user_errors
def infer(task: str, file: Path | None, sample: int | None, budget: float | None, min_accuracy: float | None,
          max_energy: float | None, priority: int, prefer: str | None, variant: str | None,
          processor: str | None, strict: bool, app: str,
          address: str, as_json: bool) -> None:  # fmt: skip
    """Send one request for TASK: a .npy or .npz FILE, or a test sample.

    Pixels of type uint8 are scaled to 0..1. Example: trimtab infer fashion --sample 7 --budget 20
    """
    from trimtab.client import Client

    inputs, label = _inputs(task, file, sample)
    with Client(address, app=app) as client:
        families = client.families(task)
        began = time.perf_counter()
        reply = client.infer(task, inputs, latency_budget_ms=budget, min_accuracy=min_accuracy,
                             max_energy_mj=max_energy, priority=priority, prefer=prefer, variant=variant,
                             processor=processor, strict=strict)  # fmt: skip
        round_trip_ms = (time.perf_counter() - began) * 1e3
    labels = dict(enumerate(families[0].labels))
    names = [labels.get(i, str(i)) for i in reply.labels]
    if as_json:
        print_json({**_fields(reply), "labels": names, "truth": label, "round_trip_ms": round_trip_ms})
        return
    truth = "" if label is None else f"  (the label says {labels.get(label, label)})"
    click.echo(f"{', '.join(names)}{truth}")
    click.echo(f"{reply.variant} on {reply.processor}, {'on time' if reply.on_time else 'LATE'}: "
               f"queue {reply.queue_us} us, load {reply.load_us} us, run {reply.run_us} us, round trip {round_trip_ms:.2f} ms")  # fmt: skip
    charged = f", ${reply.cost_usd:.3g}" if reply.cost_usd else ""
    click.echo(f"energy {reply.energy_uj / 1e3:.3f} mJ ({reply.energy_source}){charged}")
    click.echo(f"why    {reply.reason}")
    click.echo(f"more   trimtab explain {reply.decision_id}")


def _inputs(task: str, file: Path | None, sample: int | None) -> tuple[Any, int | None]:
    if (file is None) == (sample is None):
        raise click.UsageError("give either a FILE or --sample NUMBER")
    if sample is not None:
        return _sample(task, sample)
    assert file is not None
    return _arrays(file), None


def _arrays(file: Path) -> Any:
    """Return the array of a .npy file, or the arrays of a .npz by name; pixels as 0..1."""
    import zipfile

    import numpy as np

    try:
        with file.open("rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return _pixels(loaded)
            return {name: _pixels(loaded[name]) for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile):
        fail(f"{file}: not a .npy or .npz file of numbers")


def _sample(task: str, number: int) -> tuple[Any, int | None]:
    from trimtab.adapters.family_store import FolderStore, load_samples, shipped_families

    stored = [s for s in FolderStore((shipped_families(),)).families() if s.family.task == task]
    if not stored:
        fail(f"no shipped family serves {task!r}, so there is no sample to send")
    arrays, labels = load_samples(stored[0])
    if number >= len(labels):
        fail(f"--sample {number}: the family has the samples 0 to {len(labels) - 1}")
    return {name: array[number : number + 1] for name, array in arrays.items()}, int(labels[number])


def _pixels(array: Any) -> Any:
    return array.astype("float32") / 255 if array.dtype == "uint8" else array


def _fields(reply: Any) -> dict[str, Any]:
    fields = plain(reply)
    assert isinstance(fields, dict)
    return fields


@click.command()
@address_option
@json_option
@user_errors
def status(address: str, as_json: bool) -> None:
    """Show the daemon's condition: device, policy, processors, what is in memory."""
    from trimtab.client import Client

    with Client(address) as client:
        now = client.status()
    if as_json:
        print_json(now)
    else:
        _print_status(now)


def _print_status(now: "Status") -> None:
    device, word = now.device, "draining" if now.draining else "ready" if now.ready else "not ready"
    click.echo(f"trimtab {now.version}, session {now.session}, up {now.uptime_ns / 1e9:.0f} s, {word}")
    click.echo("battery  " + battery_text(now))
    memory = (
        "unknown" if device.memory_available_bytes is None else f"{mib(device.memory_available_bytes)} MiB"
    )
    limit = "no limit" if now.memory_limit_bytes >= 1 << 60 else f"limit {mib(now.memory_limit_bytes)} MiB"
    click.echo(f"memory   {memory} available; variants {mib(now.memory_used_bytes)} MiB ({limit}); RSS {mib(now.rss_bytes)} MiB")  # fmt: skip
    load = "unknown" if device.cpu_load_frac is None else f"{device.cpu_load_frac:.0%}"
    heat = "no sensor" if device.temperature_mc is None else f"{device.temperature_mc / 1e3:.1f} C"
    click.echo(f"load     {load}; temperature {heat}")
    click.echo(f"policy   {now.policy}; rules in force: {', '.join(now.active_rules) or 'none'}; energy price {now.energy_price_per_j:.3g}/J")  # fmt: skip
    if now.policy_reload_error:
        click.echo(f"         LAST RELOAD FAILED: {now.policy_reload_error}")
    click.echo(f"energy   {now.energy_meter}")
    counts = ", ".join(f"{count} {name}" for name, count in now.outcomes.items() if count)
    click.echo(f"requests {counts or 'none yet'}; {now.on_time} on time; {now.in_flight} in flight\n")
    table(
        ("processor", "slow-down", "busy", "queued", "served"),
        [
            (p.processor.name, f"{p.slowdown:.2f}", "yes" if p.busy else "no", p.queued, p.served)
            for p in now.processors
        ],
    )
    click.echo()
    table(
        ("in memory", "pool", "MiB", "uses", "phase"),
        [(f"{r.task}/{r.variant}", r.pool, mib(r.resident_bytes), r.uses, r.phase) for r in now.resident],
    )


def battery_text(now: "Status") -> str:
    """Return the battery's condition in a few words."""
    device = now.device
    if device.battery_frac is None:
        return "none"
    capacity = "" if device.battery_capacity_j is None else f" of {device.battery_capacity_j:.6g} J"
    source = dict(device.sources).get("battery", "")
    return f"{device.battery_frac:.1%}{capacity}{', charging' if device.charging else ''} ({source})"
