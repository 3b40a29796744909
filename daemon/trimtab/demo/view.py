"""What the demo shows while it plays: a live panel on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from trimtab.cli.output import mib
from trimtab.client import Client, TrimtabError
from trimtab.domain.decision import Outcome
from trimtab.domain.quantities import UJ_PER_J
from trimtab.engine.api import Record, Status

LINE_EVERY_S = 2.0
REFRESH_S = 0.25
WINDOW = 40
"""Records over which shares are shown."""


class Watcher:
    """Follows a daemon from two threads' worth of calls and keeps a timeline for the report."""

    def __init__(self, client: Client) -> None:
        """Start to listen to decisions at once."""
        self._client = client
        self._stream = client.watch()
        self._thread = threading.Thread(target=self._listen, name="demo-watch", daemon=True)
        self.recent: deque[Record] = deque(maxlen=WINDOW)
        self.timeline: list[dict[str, Any]] = []
        self.total: Counter[str] = Counter()
        self.on_time = 0
        self._thread.start()

    def _listen(self) -> None:
        try:
            for record in self._stream:
                if record.app == "demo":
                    continue
                self.recent.append(record)
                self.total[record.result.outcome.value] += 1
                self.on_time += record.result.on_time
        except TrimtabError:
            return

    def look(self, at_s: float) -> Status:
        """Ask for the daemon's condition and add it to the timeline."""
        status = self._client.status()
        share = Counter(r.result.variant for r in list(self.recent) if r.result.outcome is Outcome.DONE)
        self.timeline.append(
            {
                "at_s": round(at_s, 3),
                "battery_frac": status.device.battery_frac,
                "memory_used_bytes": status.memory_used_bytes,
                "memory_limit_bytes": status.memory_limit_bytes,
                "energy_price_per_j": status.energy_price_per_j,
                "in_flight": status.in_flight,
                "energy_used_j": status.energy_used_uj / UJ_PER_J,
                "cpu_load_frac": status.device.cpu_load_frac,
                "resident": [f"{r.variant}@{r.pool}" for r in status.resident],
                "share": dict(share),
                "slowdown": {p.processor.name: round(p.slowdown, 3) for p in status.processors},
            }
        )
        return status

    def close(self) -> None:
        """Stop listening."""
        self._stream.close()
        self._thread.join(2.0)


def follow(watcher: Watcher, title: str, starts: float, seconds: float, cues: list["Cue"]) -> None:
    """Show an act until it is over, giving each cue at its time."""
    waiting = sorted(cues, key=lambda cue: cue.at_s)
    with _screen(title, seconds) as show:
        while (at_s := time.time() - starts) < seconds:
            while waiting and waiting[0].at_s <= at_s:
                cue = waiting.pop(0)
                cue.give()
                show(at_s, None, watcher, cue.text)
            if at_s >= 0:
                show(at_s, watcher.look(at_s), watcher, "")
            time.sleep(REFRESH_S)
        watcher.look(seconds)


class Cue:
    """Something that happens to the device at a moment of an act."""

    def __init__(self, at_s: float, text: str, give: Any) -> None:
        """Call ``give`` at ``at_s``; ``text`` tells the viewer."""
        self.at_s = at_s
        self.text = text
        self.give = give


@contextmanager
def _screen(title: str, seconds: float) -> Iterator[Any]:
    if not sys.stdout.isatty():
        yield _Lines(title).show
        return
    from rich.live import Live

    panel = _Panel(title, seconds)
    with Live(panel.render(), refresh_per_second=8, transient=False) as live:

        def show(at_s: float, status: Status | None, watcher: Watcher, cue: str) -> None:
            panel.update(at_s, status, watcher, cue)
            live.update(panel.render())

        yield show


class _Lines:
    """A line every two seconds."""

    def __init__(self, title: str) -> None:
        self._next_s = 0.0
        click.echo(f"\n{title}")

    def show(self, at_s: float, status: Status | None, watcher: Watcher, cue: str) -> None:
        if cue:
            click.echo(f"{at_s:5.1f} s  >> {cue}")
        if status is None or at_s < self._next_s:
            return
        self._next_s = at_s + LINE_EVERY_S
        click.echo(f"{at_s:5.1f} s  {condition(status)}  {shares(watcher)}")
        if watcher.recent and (decision := watcher.recent[-1].decision) is not None:
            click.echo(f"         {watcher.recent[-1].app}: {decision.summary}")


def condition(status: Status) -> str:
    """Return battery, memory, queue and price in one line."""
    frac = status.device.battery_frac
    battery = "  none" if frac is None else f"{frac:6.1%}{'+' if status.device.charging else ' '}"
    limit = "-" if status.memory_limit_bytes >= 1 << 60 else mib(status.memory_limit_bytes)
    return (
        f"battery {battery} memory {mib(status.memory_used_bytes):>5}/{limit} MiB"
        f"  in flight {status.in_flight}  price {status.energy_price_per_j:.3g}/J"
    )


def shares(watcher: Watcher) -> str:
    """Return which variants served the latest requests."""
    done = Counter(r.result.variant for r in list(watcher.recent) if r.result.outcome is Outcome.DONE)
    return ", ".join(f"{name} {count / sum(done.values()):.0%}" for name, count in done.most_common(4))


class _Panel:
    """The live panel: a battery bar, the device, the shares, and the latest decisions with their reasons."""

    def __init__(self, title: str, seconds: float) -> None:
        self._title = title
        self._seconds = seconds
        self._at_s = 0.0
        self._status: Status | None = None
        self._cue = ""
        self._watcher: Watcher | None = None

    def update(self, at_s: float, status: Status | None, watcher: Watcher, cue: str) -> None:
        self._at_s, self._watcher = at_s, watcher
        self._status = status or self._status
        self._cue = cue or self._cue

    def render(self) -> Any:
        """Return what rich draws."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Text(f"{self._title}   {self._at_s:.0f} / {self._seconds:.0f} s   {self._cue}", style="bold")
        parts: list[Any] = [head]
        if self._status is not None and self._watcher is not None:
            parts += [
                Text(condition(self._status)),
                Text(shares(self._watcher), style="cyan"),
                ProgressBar(100, 100 * (self._status.device.battery_frac or 0)),
                Text(""),
            ]
            latest = Table(box=None, pad_edge=False)
            for name in ("app", "served by", "on time", "why"):
                latest.add_column(name, no_wrap=name != "why")
            for record in list(self._watcher.recent)[-8:]:
                result = record.result
                served = f"{result.variant}@{result.processor}" if result.variant else result.outcome.value
                why = record.decision.summary if record.decision else record.result.reason
                latest.add_row(record.app, served, "yes" if record.result.on_time else "NO", why)
            parts.append(latest)
        return Panel(Group(*parts), title="trimtab demo")
