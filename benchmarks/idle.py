"""What a daemon costs that nobody asks: start to ready, memory, wake-ups, CPU.

python benchmarks/idle.py [--json] [--seconds 20]
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from daemons import serving


def wakeups(pid: int) -> int:
    """Return voluntary context switches of all threads so far: how often one of them was woken."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def by_thread(pid: int) -> dict[str, int]:
    """Return voluntary context switches by thread (name and number)."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = dict(x.split(":", 1) for x in (task / "status").read_text().splitlines() if ":" in x)
        found[f"{fields['Name'].strip()}/{task.name}"] = int(fields["voluntary_ctxt_switches"])
    return found


def cpu_s(pid: int) -> float:
    """Return CPU seconds of the process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> tuple[float, float]:
    """Return resident and proportional set size in MB."""
    figures = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Rss", "Pss"):
            figures[name] = int(rest.split()[0]) * 1024 / 1e6
    return figures["Rss"], figures["Pss"]


def measure(seconds: float, threads: bool) -> dict[str, Any]:
    """Start a daemon twice, the second time with kept profiles, and watch it do nothing."""
    with tempfile.TemporaryDirectory(prefix="trimtab-idle-") as name:
        folder = Path(name)
        with serving(folder) as (_, _, first_s):
            pass
        with serving(folder) as (_, process, ready_s):
            time.sleep(2.0)
            before, cpu, names = wakeups(process.pid), cpu_s(process.pid), by_thread(process.pid)
            time.sleep(seconds)
            woken, used = wakeups(process.pid) - before, cpu_s(process.pid) - cpu
            after = by_thread(process.pid)
            rss_mb, pss_mb = memory_mb(process.pid)
            torch = "torch" in Path(f"/proc/{process.pid}/maps").read_text()
            found: dict[str, Any] = {
                "first_start_s": first_s,
                "start_s": ready_s,
                "rss_mb": rss_mb,
                "pss_mb": pss_mb,
                "wakeups_per_s": woken / seconds,
                "cpu_percent": 100 * used / seconds,
                "threads": len(after),
                "torch_in_process": torch,
            }
            if threads:
                found["by_thread"] = {
                    k: after[k] - names.get(k, 0) for k in after if after[k] > names.get(k, 0)
                }
            return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", action="store_true", help="tell which threads woke")
    given = parser.parse_args()
    found = measure(given.seconds, given.threads)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:18} {value:.3f}" if isinstance(value, float) else f"{name:18} {value}")


if __name__ == "__main__":
    main()
