"""The gRPC server's life: listen, announce health, drain, stop."""

import asyncio
import logging
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from trimtab.engine.api import Inference
from trimtab.rpc.address import UNIX, AddressError, Listen, check_tcp, free_socket, private_files
from trimtab.rpc.control_service import ControlService
from trimtab.rpc.inference_service import InferenceService
from trimtab.rpc.pb import CONTROL, INFERENCE, POOL
from trimtab.rpc.service import handlers

LARGEST_MESSAGE_BYTES: Final = 64 * 1024 * 1024
CONCURRENT_RPCS: Final = 4_096
STOP_GRACE_S: Final = 0.2
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
OPTIONS: Final = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second daemon on the same port must fail, not share it
)
log = logging.getLogger(__name__)


class RpcServer:
    """Serves inference, control, health and reflection for one engine.

    ``start``; then ``announce`` whenever the engine's readiness may have changed; at the end ``drain``.
    """

    def __init__(self, inference: Inference, listen: Listen) -> None:
        if listen.socket is None and not listen.tcp:
            raise AddressError("give a socket, a TCP address, or both")
        self._inference = inference
        self._listen = listen
        self._addresses: list[str] = []
        self._server: Any = None
        self._health = health.aio.HealthServicer()
        self._inference_service = InferenceService(inference)
        self._control_service = ControlService(inference)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return what the server listens on, as clients write it, with the real port for TCP port 0."""
        return tuple(self._addresses)

    async def start(self) -> None:
        """Listen; raise ``AddressError`` when an address cannot be had."""
        self._server = grpc.aio.server(options=OPTIONS, maximum_concurrent_rpcs=CONCURRENT_RPCS)
        self._add_services()
        self._bind_socket()
        self._bind_tcp()
        await self.announce()
        await self._server.start()
        log.info("listening at %s", ", ".join(self._addresses))

    async def announce(self) -> None:
        """Publish the engine's readiness through the health service."""
        status = SERVING if self._inference.ready else NOT_SERVING
        for name in ("", INFERENCE, CONTROL, *self._inference.families()):
            await self._health.set(name, SERVING if name == CONTROL else status)

    async def announce_drain(self) -> None:
        """Publish NOT_SERVING for good; call it before the engine begins to refuse."""
        await self._health.enter_graceful_shutdown()

    async def drain(self, grace_s: float) -> bool:
        """Wait up to ``grace_s`` for every request that came in, then stop; return whether all were answered.

        The engine must already be refusing new requests, which callers see as UNAVAILABLE.
        """
        await self.announce_drain()
        finished = True
        try:
            await asyncio.wait_for(self._inference_service.idle(), grace_s)
        except TimeoutError:
            finished = False
        await self.stop()
        return finished

    async def stop(self) -> None:
        """Stop listening, end watchers and cut off what still runs; gRPC removes the socket file."""
        if self._server is None:
            return
        self._control_service.close()
        await self._server.stop(STOP_GRACE_S)
        self._server = None

    def _add_services(self) -> None:
        self._server.add_generic_rpc_handlers(
            (handlers(INFERENCE, self._inference_service), handlers(CONTROL, self._control_service))
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        POOL.AddSerializedFile(health_pb2.DESCRIPTOR.serialized_pb)  # for reflection
        names = (INFERENCE, CONTROL, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)

    def _bind_socket(self) -> None:
        path = self._listen.socket
        if path is None:
            return
        free_socket(path)
        address = f"{UNIX}{path}"
        try:
            with private_files():
                self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise AddressError(f"cannot listen at {address}: {error}") from error
        self._addresses.append(address)

    def _bind_tcp(self) -> None:
        if not self._listen.tcp:
            return
        address = check_tcp(self._listen.tcp, self._listen.allow_remote)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise AddressError(f"cannot listen at {address}: {error}") from error
        self._addresses.append(f"{address.rpartition(':')[0]}:{port}")
