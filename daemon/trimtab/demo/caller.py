"""One app of the demo, in a process of its own: sends its requests on time and notes every answer.

Run as ``python -m trimtab.demo.caller PLAN.json ANSWERS.json``; it starts at the wall time the plan says.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.client import Client, TrimtabError

THREADS = 8


def main(plan_file: str, answers_file: str) -> None:
    """Play a plan: open loop, so that a slow answer does not delay the next request."""
    plan = json.loads(Path(plan_file).read_text())
    images = np.load(plan["images"])
    with Client(plan["address"], app=plan["app"]) as client, ThreadPoolExecutor(THREADS) as pool:
        client.infer(plan["task"], images[:1], latency_budget_ms=1000, variant=plan["warm_up"])
        time.sleep(max(0.0, plan["start_s"] - time.time()))
        began = time.monotonic()
        futures = []
        for at_ns, sample in plan["shots"]:
            time.sleep(max(0.0, began + at_ns / 1e9 - time.monotonic()))
            futures.append(pool.submit(ask, client, plan, images[sample : sample + 1], at_ns, sample))
        answers = [future.result() for future in futures]
    Path(answers_file).write_text(json.dumps(answers))


def ask(client: Client, plan: dict[str, Any], image: Any, at_ns: int, sample: int) -> dict[str, Any]:
    """Send one image and return what came back, or the error's code."""
    began = time.perf_counter()
    answer: dict[str, Any] = {"at_ns": at_ns, "sample": sample, "app": plan["app"]}
    try:
        reply = client.infer(plan["task"], image, priority=plan["priority"])
    except TrimtabError as error:
        return {**answer, "code": error.code, "error": error.message, "decision": error.decision_id}
    return {
        **answer,
        "code": "OK",
        "round_trip_ms": (time.perf_counter() - began) * 1e3,
        "label": reply.label,
        "variant": reply.variant,
        "processor": reply.processor,
        "exit": reply.exit,
        "on_time": reply.on_time,
        "energy_uj": reply.energy_uj,
        "energy_source": reply.energy_source,
        "run_us": reply.run_us,
        "decision": reply.decision_id,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
