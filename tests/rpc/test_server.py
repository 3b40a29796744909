"""The server's life on real sockets: who may connect, health, reflection, drain."""

import asyncio
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from trimtab.client import Client, TrimtabError
from trimtab.rpc.address import (
    AddressError,
    Listen,
    check_tcp,
    default_address,
    default_socket,
    free_socket,
    listen_at,
)
from trimtab.rpc.server import RpcServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def _health(address: str, name: str) -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status)


def test_the_socket_is_private_and_removed(served: Any, socket_path: Path) -> None:
    found = socket_path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    served.do(served.server.stop())
    assert not socket_path.exists()


def test_a_stale_socket_is_replaced(engine: Any, socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    assert socket_path.exists()

    async def start() -> None:
        server = RpcServer(engine, Listen(socket=socket_path))
        await server.start()
        await server.stop()

    asyncio.run(start())


def test_a_live_socket_is_left_alone(served: Any, client: Client, socket_path: Path, image: Any) -> None:
    async def start() -> None:
        server = RpcServer(served.engine, Listen(socket=socket_path))
        try:
            with pytest.raises(AddressError, match="already listens"):
                await server.start()
        finally:
            await server.stop()

    served.do(start())
    assert client.infer("digits", image).variant == "small"


def test_what_else_may_stand_at_the_path(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("precious")
    for path, message in (
        (occupied, "not a socket"),
        (tmp_path / "no" / "t.sock", "no folder"),
        (tmp_path / ("x" * 120), "longer than 107"),
    ):
        with pytest.raises(AddressError, match=message):
            free_socket(path)
    assert occupied.read_text() == "precious"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:8001", "[::1]:8001", "127.1.2.3:80"])
def test_loopback_is_accepted(address: str) -> None:
    assert check_tcp(address, allow_remote=False) == address


@pytest.mark.parametrize("address", ["0.0.0.0:8001", "[::]:8001", "example.org:80", "192.168.1.2:1"])
def test_other_machines_are_refused_unless_allowed(address: str) -> None:
    with pytest.raises(AddressError, match="other machines"):
        check_tcp(address, allow_remote=False)
    assert check_tcp(address, allow_remote=True) == address


@pytest.mark.parametrize("address", ["8001", "localhost", "localhost:x", ":8001", "localhost:70000"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="no TCP address"):
        check_tcp(address, allow_remote=True)


def test_tcp_and_socket_together(engine: Any, socket_path: Path, image: Any) -> None:
    from .conftest import Served

    running = Served(engine, Listen(socket=socket_path, tcp="127.0.0.1:0"))
    try:
        path, tcp = running.server.addresses
        assert path == f"unix:{socket_path}"
        assert not tcp.endswith(":0")
        with Client(tcp) as client:
            assert client.infer("digits", image).variant == "small"
        with pytest.raises(AddressError, match="cannot listen"):
            running.do(RpcServer(engine, Listen(tcp=tcp)).start())
    finally:
        running.close()


async def test_nothing_to_listen_on_is_refused(engine: Any) -> None:
    with pytest.raises(AddressError, match="give a socket"):
        RpcServer(engine, Listen())


def test_default_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRIMTAB_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_address() == f"unix:{tmp_path}/trimtab.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert default_socket().name.startswith("trimtab-")
    monkeypatch.setenv("TRIMTAB_ADDRESS", "127.0.0.1:9")
    assert default_address() == "127.0.0.1:9"
    assert listen_at("127.0.0.1:9") == Listen(tcp="127.0.0.1:9")
    assert listen_at("unix:/x/y") == Listen(socket=Path("/x/y"))


def test_health_follows_readiness(served: Any) -> None:
    assert _health(served.address, "") == SERVING
    assert _health(served.address, "digits") == SERVING
    served.engine.ready = False
    served.do(served.server.announce())
    assert _health(served.address, "digits") == NOT_SERVING
    assert _health(served.address, "trimtab.control.v1.Control") == SERVING
    with pytest.raises(grpc.RpcError) as caught:
        _health(served.address, "letters")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_and_describes_all_services(served: Any) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    names = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "trimtab.control.v1.Control",
    ]
    with grpc.insecure_channel(served.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [ask(list_services="")] + [
            ask(file_containing_symbol=name) for name in names[:1] + names[2:]
        ]
        listed, *described = stub.ServerReflectionInfo(iter(requests), timeout=5)
    assert [entry.name for entry in listed.list_services_response.service] == names
    assert all(answer.HasField("file_descriptor_response") for answer in described)


def test_drain_finishes_what_was_admitted(served: Any, client: Client, image: Any, socket_path: Path) -> None:
    served.engine.delay_s = 0.3
    replies: list[str] = []
    worker = threading.Thread(target=lambda: replies.append(client.infer("digits", image).variant))
    worker.start()
    while not served.engine.in_flight:
        time.sleep(0.001)
    served.do(served.server.announce_drain())
    served.engine.draining = True
    assert _health(served.address, "digits") == NOT_SERVING
    with pytest.raises(TrimtabError, match="going down") as caught:
        client.infer("digits", image)
    assert caught.value.code == "UNAVAILABLE"
    assert served.do(served.server.drain(5))
    worker.join()
    assert replies == ["small"]
    assert not socket_path.exists()


def test_drain_gives_up_after_its_grace(served: Any, client: Client, image: Any) -> None:
    served.engine.delay_s = 30
    codes: list[str] = []

    def ask() -> None:
        with pytest.raises(TrimtabError) as caught:
            client.infer("digits", image)
        codes.append(caught.value.code)

    worker = threading.Thread(target=ask)
    worker.start()
    while not served.engine.in_flight:
        time.sleep(0.001)
    assert not served.do(served.server.drain(0.05))
    worker.join()
    assert codes in (["UNAVAILABLE"], ["CANCELLED"])
    assert served.engine.cancelled == ["r1"]


async def test_stop_without_start_is_harmless(engine: Any, socket_path: Path) -> None:
    await RpcServer(engine, Listen(socket=socket_path)).stop()
