"""Profile decisions: time by function (cProfile), memory per decision (tracemalloc), and the state under traffic.

Run ``python benchmarks/decision_profile.py [--json] [--decisions 1000000]``. Each decision is a request that
arrives at an idle device with 64 candidates, runs and ends, as in ``benchmarks/decision.py``. The state is told
after traffic that never repeats: ids, apps, unknown tasks and failing runs drawn anew for every request.
"""

import argparse
import cProfile
import gc
import json
import pstats
import random
import sys
import tracemalloc
from array import array
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "daemon"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from decision import MS, Bench

from trimtab.core import events as ev
from trimtab.core.codec import encode_value
from trimtab.domain.device import DeviceState
from trimtab.domain.policy import BatteryGoal, Change, Condition, Policy, Rule, Settings
from trimtab.domain.request import Request

SHOWN = 15
WARM = 500
TRACED = 5_000
"""So many decisions are traced: tracing slows them down tenfold, and what one leaves shows in a thousand."""


def on_the_mains() -> Bench:
    """Return a device without a battery: a million requests would empty one."""
    bench = Bench(64, BatteryGoal())
    bench.feed(ev.DeviceChanged(DeviceState(memory_available_bytes=512 << 20)))
    return bench


def functions(decisions: int) -> list[dict[str, Any]]:
    """Return the functions in which most time goes by, with their calls and time per decision."""
    bench = on_the_mains()
    for _ in range(WARM):
        bench.idle()
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(decisions):
        bench.idle()
        bench.timed_ns.clear()
    profile.disable()
    stats: Any = pstats.Stats(profile)
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])
    return [
        {
            "function": f"{Path(file).name}:{line}:{name}" if line else name,
            "calls": calls / decisions,
            "own_us": own_s / decisions * 1e6,
            "with_callees_us": all_s / decisions * 1e6,
        }
        for (file, line, name), (_, calls, own_s, all_s, _) in rows[:SHOWN]
    ]


def allocations() -> dict[str, Any]:
    """Return what decisions leave behind, the most they hold at once, and where what stays was allocated."""
    bench = on_the_mains()
    for _ in range(WARM):
        bench.idle()
    bench.timed_ns.clear()
    gc.collect()
    peaks = array("q", bytes(8 * TRACED))
    tracemalloc.start(1)
    before, (began, _) = tracemalloc.take_snapshot(), tracemalloc.get_traced_memory()
    for index in range(TRACED):
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        bench.idle()
        bench.timed_ns.clear()
        peaks[index] = tracemalloc.get_traced_memory()[1] - start
    gc.collect()
    ended, after = tracemalloc.get_traced_memory()[0], tracemalloc.take_snapshot()
    tracemalloc.stop()
    kept = [one for one in after.compare_to(before, "lineno") if one.size_diff > 0][:SHOWN]
    return {
        "left_bytes_per_decision": (ended - began) / TRACED,
        "held_bytes_p50": sorted(peaks)[TRACED // 2],
        "held_bytes_max": max(peaks),
        "left": [
            {"at": str(one.traceback), "bytes": one.size_diff, "blocks": one.count_diff} for one in kept
        ],
    }


class Traffic:
    """Requests that have nothing in common but the tasks there are; some runs fail."""

    def __init__(self) -> None:
        self.bench, self.random = Bench(64, BatteryGoal(0.1, last_for_ns=3_600_000 * MS)), random.Random(3)
        apps = Rule("app", Condition(apps=("app1*",)), Change(weight=2.0))
        self.bench.feed(
            ev.PolicyReplaced(Policy("p", defaults=Settings(energy_price_per_j=0.5), rules=(apps,)))
        )

    def run(self, count: int) -> int:
        """Let so many requests come and end; return the size of the encoded state in bytes."""
        bench, chance = self.bench, self.random
        for index in range(count):
            bench.now_ns += chance.randrange(5 * MS)
            task = "bench" if index % 4 else f"unknown{chance.random()}"
            floor = chance.random() if index % 3 == 0 else None
            request = Request(f"{index}-{chance.random()}", task, f"app{chance.random()}", None, floor)
            bench.feed(ev.RequestArrived(request))
            for run in list(bench.running.values()):
                if chance.random() < 0.01:
                    del bench.running[run.request_id]
                    bench.feed(ev.RunFailed(run.request_id, run.stage, f"boom {chance.random()}"))
            bench.finish_all()
        return len(encode_value(bench.scheduler.state))


def states() -> dict[str, int]:
    """Return the size of the encoded state after more and more requests."""
    traffic, total, found = Traffic(), 0, {}
    for count in (1_000, 4_000, 15_000, 30_000):
        total += count
        found[str(total)] = traffic.run(count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--decisions", type=int, default=1_000_000)
    given = parser.parse_args()
    told = {
        "decisions": given.decisions,
        "functions": functions(given.decisions),
        "allocations": allocations(),
        "state_bytes_after_requests": states(),
    }
    if given.json:
        print(json.dumps(told, indent=2))
        return
    print(
        f"{'function':60}{'calls':>8}{'own us':>9}{'all us':>9}   per request, profiled ({given.decisions} of them)"
    )
    for one in told["functions"]:
        print(
            f"{one['function'][:59]:60}{one['calls']:8.2f}{one['own_us']:9.2f}{one['with_callees_us']:9.2f}"
        )
    memory = told["allocations"]
    print(
        f"\nmemory: a request leaves {memory['left_bytes_per_decision']:.2f} bytes; it holds {memory['held_bytes_p50']} at "
        f"once (p50), {memory['held_bytes_max']} at most"
    )
    for one in memory["left"][:5]:
        print(f"  {one['bytes']:8} bytes in {one['blocks']:6} blocks at {one['at']}")
    print("\nstate, bytes as JSON after so many requests that never repeat:")
    for count, size in told["state_bytes_after_requests"].items():
        print(f"  {count:>8}  {size}")


if __name__ == "__main__":
    main()
