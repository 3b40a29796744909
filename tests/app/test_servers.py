"""A second daemon as the server: used where the policy allows it, done without when it dies, used again when it is back."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.adapters.family_store import load_family, shipped_families
from trimtab.client import TrimtabError
from trimtab.domain.processor import REMOTE, Processor
from trimtab.ports import LinkFailure, RuntimeFailure, ServerRuntime
from trimtab.servers import RemoteRuntime, ServerSpec

TASK = "fashion"
CLOUD = Processor("cloud", REMOTE, (), 1, "server:cloud", REMOTE)
OUT = """
version: 1
name: out
defaults: {latency_budget_ms: 2000, allow_remote: true, energy_price_per_j: 1000}
"""
"""Energy is so dear that whatever leaves the device wins: sending is told to take next to nothing."""


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    return found


@pytest.fixture(scope="module")
def server(make_daemon: Callable[..., Any], port: int) -> Any:
    """Return a daemon that serves on TCP."""
    return make_daemon("--tcp", f"127.0.0.1:{port}", "--policy", "best-accuracy").start()


@pytest.fixture
def device(make_daemon: Callable[..., Any], server: Any, port: int, tmp_path: Path) -> Any:
    """Return a daemon that may ask the other one."""
    policy = tmp_path / "out.yaml"
    policy.write_text(OUT)
    spec = f"cloud=127.0.0.1:{port},tasks={TASK},send_mj=0.000001,usd_per_request=0.001"
    return make_daemon(
        "--remote", spec, "--policy", str(policy), "--sensor-interval", "0.2", "--profile-budget", "1"
    )


def test_requests_go_out_fall_back_and_go_out_again(
    device: Any, server: Any, samples: Any, wait_until: Callable[..., None]
) -> None:
    image = samples[0][:1]
    with device.start().client() as client:
        out = client.infer(TASK, image, variant="resnet")
        assert (out.processor, out.variant, out.cost_usd) == ("cloud", "resnet", 0.001)
        with server.client() as there:
            same = there.infer(TASK, image, variant="resnet").outputs
        for name, array in same.items():
            np.testing.assert_allclose(out.outputs[name], array, rtol=1e-4, atol=1e-5)
        assert client.infer("digits", np.zeros((1, 1, 28, 28), np.float32)).processor != "cloud"

        with pytest.raises(TrimtabError, match="asked for another processor"):
            client.infer("digits", np.zeros((1, 1, 28, 28), np.float32), processor="cloud", strict=True)

        server.signal(signal.SIGKILL)
        server.wait()
        here = [client.infer(TASK, image, variant="resnet") for _ in range(20)]
        assert {reply.processor != "cloud" for reply in here} == {True}
        assert {reply.cost_usd for reply in here} == {0.0}
        assert client.infer(TASK, image, processor="cloud").processor != "cloud"
        with pytest.raises(TrimtabError, match="cannot be reached"):
            client.infer(TASK, image, processor="cloud", strict=True)
        (status,) = [one for one in client.status().processors if one.processor.name == "cloud"]
        assert not status.reachable

        server.start()
        wait_until(lambda: client.infer(TASK, image, variant="resnet").processor == "cloud")
        (status,) = [one for one in client.status().processors if one.processor.name == "cloud"]
        assert status.reachable
        assert status.round_trip_ns > 0
    assert device.stop() == 0


def test_nothing_goes_out_under_a_policy_that_does_not_say_so(
    make_daemon: Callable[..., Any], server: Any, port: int, samples: Any
) -> None:
    own = make_daemon(
        "--remote", f"cloud=127.0.0.1:{port},send_mj=0,tasks={TASK}", "--profile-budget", "1"
    ).start()
    with own.client() as client:
        replies = [client.infer(TASK, samples[0][:1], prefer="energy") for _ in range(5)]
    assert all(reply.processor != "cloud" for reply in replies)
    assert own.stop() == 0


def test_the_runtime_says_what_is_missing(server: Any, port: int, samples: Any) -> None:
    runtime = RemoteRuntime(ServerSpec.parse(f"cloud=127.0.0.1:{port},tasks={TASK}"))
    family = load_family(shipped_families() / TASK).family
    folder = shipped_families() / TASK
    assert isinstance(runtime, ServerRuntime)
    live, round_trip_ns = runtime.look()
    assert live
    assert round_trip_ns > 0
    tensors = {family.inputs[0].name: samples[0][:1]}
    with pytest.raises(RuntimeFailure, match="fashion/resnet is not loaded on cloud"):
        runtime.run(TASK, "resnet", CLOUD, 0, tensors)
    with pytest.raises(RuntimeFailure, match="in one piece, not in stages"):
        runtime.load(TASK, family.variant("resnet-exits"), folder, CLOUD)
    with pytest.raises(RuntimeFailure, match="cloud is not asked for 'digits'"):
        runtime.load("digits", family.variant("resnet"), folder, CLOUD)
    runtime.load(TASK, family.variant("resnet"), folder, CLOUD)
    with pytest.raises(RuntimeFailure, match="INVALID_ARGUMENT"):
        runtime.run(TASK, "resnet", CLOUD, 0, {family.inputs[0].name: samples[0][:1, :, :3]})
    runtime.close()


def test_a_server_that_does_not_answer_is_a_broken_link() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        runtime = RemoteRuntime(ServerSpec("deaf", f"127.0.0.1:{silent.getsockname()[1]}"))
        assert runtime.look() == (False, 0)
        stored = load_family(shipped_families() / TASK)
        with pytest.raises(LinkFailure, match=r"deaf at 127\.0\.0\.1"):
            runtime.load(TASK, stored.family.variant("resnet"), stored.folder, CLOUD)
        runtime.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cloud", "is no server"),
        ("=10.0.0.1:80", "is no server"),
        ("a=b:1,colour=red", "unknown key 'colour'"),
        ("a=b:1,usd_per_ms=-1", "usd_per_ms cannot be '-1'"),
        ("a=b:1,concurrent=many", "concurrent cannot be 'many'"),
    ],
)
def test_a_server_that_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerSpec.parse(text)


def test_a_server_as_an_operator_writes_it() -> None:
    spec = ServerSpec.parse("cloud=10.0.0.1:8001,tasks=f*,usd_per_ms=1.8e-7,concurrent=4")
    assert spec == ServerSpec("cloud", "10.0.0.1:8001", "f*", usd_per_ms=1.8e-7, concurrent=4)
