"""Ties a servicer's methods to the RPCs of a service, and errors to gRPC's status."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from trimtab.rpc.errors import Code, WireError
from trimtab.rpc.pb import service

STATUS: Final[Mapping[Code, grpc.StatusCode]] = {code: grpc.StatusCode[code.name] for code in Code}
DECISION_KEY: Final = "trimtab-decision-id"
APP_KEY: Final = "trimtab-app"

_HANDLERS: Final = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class Context(Protocol):
    """What servicers use of gRPC's servicer context."""

    def time_remaining(self) -> float | None:
        """Return seconds until the caller's deadline; ``None`` without one."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None:
        """Return the caller's metadata."""

    async def send_initial_metadata(self, initial_metadata: Sequence[tuple[str, str]]) -> None:
        """Send the headers before the first answer."""

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing_metadata: Sequence[tuple[str, str]]
    ) -> NoReturn:
        """End the RPC; always raises."""


def handlers(name: str, servicer: object) -> Any:
    """Return the handlers of service ``name``: RPC ``ModelInfer`` calls ``servicer.model_infer``."""
    methods = {method.name: _handler(method, servicer) for method in service(name).methods}
    return grpc.method_handlers_generic_handler(name, methods)


async def abort(context: Context, error: WireError) -> NoReturn:
    """End the RPC with the status of ``error``; the decision id goes into the trailing metadata."""
    trailing = ((DECISION_KEY, error.decision_id),) if error.decision_id else ()
    await context.abort(STATUS[error.code], error.message, trailing)


def app_of(context: Context) -> str:
    """Return the app id a caller put into its metadata, or nothing."""
    for key, value in context.invocation_metadata() or ():
        if key == APP_KEY:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return ""


def _handler(method: MethodDescriptor, servicer: object) -> Any:
    build = _HANDLERS[method.client_streaming, method.server_streaming]
    return build(
        getattr(servicer, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()),
        request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
        response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
    )
