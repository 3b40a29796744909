"""One 28x28 image in, one answer out: the daemon against a bare gRPC echo of the same bytes, in one run.

    python benchmarks/roundtrip.py [--json] [--requests 3000]

All servers listen at Unix-domain sockets, each in a process of its own. The client sends the same serialized
request and does not parse answers, so that all differences are the servers'. Visits to the servers alternate
every few requests, so that a neighbour that wakes hits all of them alike.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from daemons import serving

METHOD = "/inference.GRPCInferenceService/ModelInfer"
TASK, SMALLEST = "fashion", "student-tiny"
SLICE = 25
IN_FLIGHT = 8


def echo(address: str, ready: Any) -> None:
    """Serve ``METHOD`` by sending the request's bytes back."""

    async def answer(request: bytes, _context: Any) -> bytes:
        return request

    async def serve() -> None:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(answer)
        _, service, method = METHOD.split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        server.add_insecure_port(address)
        await server.start()
        ready.set()
        await server.wait_for_termination()

    asyncio.run(serve())


def payload(variant: str) -> bytes:
    """Return the serialized request."""
    from trimtab.client import request_for

    image = np.random.default_rng(0).random((1, 1, 28, 28)).astype(np.float32)
    body: bytes = request_for(
        TASK, {"image": image}, {"latency_budget_ms": 100, "variant": variant or None}
    ).SerializeToString()
    return body


def one_at_a_time(servers: dict[str, tuple[str, bytes]], requests: int) -> dict[str, list[float]]:
    """Return the latencies in microseconds of each server, one request in flight."""
    took: dict[str, list[float]] = {name: [] for name in servers}
    with ExitStack() as stack:
        calls: dict[str, Callable[[bytes], bytes]] = {}
        for name, (address, body) in servers.items():
            calls[name] = stack.enter_context(grpc.insecure_channel(address)).unary_unary(METHOD)
            for _ in range(50):
                calls[name](body)
        for _ in range(requests // SLICE):
            for name, (_, body) in servers.items():
                call = calls[name]
                for _ in range(SLICE):
                    began_ns = time.perf_counter_ns()
                    call(body)
                    took[name].append((time.perf_counter_ns() - began_ns) / 1e3)
    return took


async def side_by_side(servers: dict[str, tuple[str, bytes]], requests: int) -> dict[str, float]:
    """Return requests per second of each server with eight in flight; the median of five alternating visits."""
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(5):
        for name, (address, body) in servers.items():
            async with grpc.aio.insecure_channel(address) as channel:
                rates[name].append(await _rate(channel.unary_unary(METHOD), body, requests // 5))
    return {name: statistics.median(found) for name, found in rates.items()}


async def _rate(call: Any, body: bytes, requests: int) -> float:
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            await call(body)

    await call(body)
    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    return requests / (time.perf_counter() - began_s)


def measure(requests: int) -> dict[str, Any]:
    """Start all servers and return the figures of each."""
    with tempfile.TemporaryDirectory(prefix="trimtab-trip-") as name, ExitStack() as stack:
        folder = Path(name)
        echo_at, context = f"unix:{folder}/echo.sock", multiprocessing.get_context("spawn")
        ready = context.Event()
        process = context.Process(target=echo, args=(echo_at, ready), daemon=True)
        process.start()
        stack.callback(process.join)
        stack.callback(process.terminate)
        assert ready.wait(20)
        daemon_at, _, _ = stack.enter_context(serving(folder))
        servers = {
            "echo": (echo_at, payload("")),
            "pinned": (daemon_at, payload(SMALLEST)),
            "free": (daemon_at, payload("")),
        }
        alone = one_at_a_time(servers, requests)
        together = asyncio.run(side_by_side(servers, requests))
    found = {name: _figures(alone[name], together[name]) for name in servers}
    for name in ("pinned", "free"):
        found[name] |= {f"{key}_ratio": found[name][key] / found["echo"][key] for key in found["echo"]}
    return {"requests": requests, "payload_bytes": len(payload("")), "smallest": SMALLEST, "servers": found}


def _figures(took_us: list[float], per_s: float) -> dict[str, float]:
    p50, p99 = np.percentile(took_us, (50, 99))
    return {"p50_us": float(p50), "p99_us": float(p99), f"per_s_{IN_FLIGHT}_in_flight": per_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=3000)
    given = parser.parse_args()
    found = measure(given.requests)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'server':8} {'p50 us':>9} {'p99 us':>9} {'req/s at 8':>11}  ratios to echo")
    for name, row in found["servers"].items():
        p50, p99, rate = list(row.values())[:3]
        ratios = "  ".join(f"{value:.2f}" for value in list(row.values())[3:])
        print(f"{name:8} {p50:9.0f} {p99:9.0f} {rate:11.0f}  {ratios}")


if __name__ == "__main__":
    main()
