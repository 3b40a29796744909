"""Talk to a running daemon.

>>> with Client() as client:  # doctest: +SKIP
...     reply = client.infer("fashion", image, latency_budget_ms=20, min_accuracy=0.9)
...     print(reply.label, reply.variant, reply.on_time)
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf import message_factory

from trimtab.domain.family import Family
from trimtab.engine.api import Record, Status
from trimtab.policy.errors import Problem
from trimtab.rpc import control
from trimtab.rpc.address import UNIX, default_address
from trimtab.rpc.pb import CONTROL, INFERENCE, service
from trimtab.rpc.pb import control_pb2 as cpb
from trimtab.rpc.pb import inference_pb2 as pb
from trimtab.rpc.tensors import DTYPES, datatype_of, raw_bytes

Images = npt.ArrayLike | Mapping[str, npt.ArrayLike]
Goal = float | int | str | None

LARGEST_MESSAGE_BYTES: Final = 64 * 1024 * 1024
CONTROL_TIMEOUT_S: Final = 10.0
DECISION_KEY: Final = "trimtab-decision-id"


class TrimtabError(Exception):
    """A call that failed. ``code`` is gRPC's name of the status, e.g. ``DEADLINE_EXCEEDED``.

    ``decision_id`` can be given to ``Client.explain``; it is empty when nothing was decided.
    ``problems`` is filled when a policy was refused.
    """

    def __init__(
        self, code: str, message: str, decision_id: str = "", problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.decision_id = decision_id
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: the outputs by name, and how they came about.

    ``exit`` is the exit that answered, ``given_up`` lists the goals that could not be met and
    ``energy_source`` says whether energy was measured, published or assumed.
    """

    outputs: dict[str, npt.NDArray[Any]]
    request_id: str
    decision_id: str
    variant: str
    processor: str
    exit: int
    exit_rule: str
    confidence: float
    queue_us: int
    load_us: int
    run_us: int
    predicted_latency_us: int
    predicted_energy_uj: float
    energy_uj: float
    energy_source: str
    cost_usd: float
    on_time: bool
    given_up: tuple[str, ...]
    reason: str

    @property
    def labels(self) -> npt.NDArray[np.intp]:
        """Return the index of the largest entry of the first output, per sample."""
        first = next(iter(self.outputs.values()))
        labels: npt.NDArray[np.intp] = np.argmax(first.reshape(len(first), -1), axis=1)
        return labels

    @property
    def label(self) -> int:
        """Return the index of the largest entry of the first output for the first sample."""
        return int(self.labels[0])


class Client:
    """A connection to a daemon; use it as a context manager or call ``close``. Threads may share it."""

    def __init__(self, address: str = "", *, app: str = "") -> None:
        self.address = address or _own(default_address())
        self._app = app
        options = [
            ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
            ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self._channel = grpc.insecure_channel(self.address, options)
        self._inference = methods_of(self._channel, INFERENCE)
        self._control = methods_of(self._channel, CONTROL)
        self._input_names: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self._channel.close()

    def infer(
        self,
        task: str,
        inputs: Images,
        *,
        latency_budget_ms: float | None = None,
        min_accuracy: float | None = None,
        max_energy_mj: float | None = None,
        priority: int = 0,
        prefer: str | None = None,
        variant: str | None = None,
        processor: str | None = None,
        strict: bool = False,
        app: str | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Reply:
        """Return the answer to one request; goals left out come from the policy. Raises ``TrimtabError``.

        ``inputs`` maps input names to arrays; a single array stands for the task's only input.
        ``min_accuracy`` is a fraction (0.9), ``priority`` 1 the most urgent, ``prefer`` one of value,
        accuracy, energy, latency. ``processor`` is a name or pattern; no other serves when ``strict``. Without ``latency_budget_ms``, ``timeout_s`` is the budget too.
        """
        goals: dict[str, Goal] = {
            "latency_budget_ms": latency_budget_ms,
            "min_accuracy": min_accuracy,
            "max_energy_mj": max_energy_mj,
            "priority": priority or None,
            "prefer": prefer,
            "variant": variant,
            "processor": processor,
            "processor_mode": "strict" if strict else None,
            "app": app or self._app or None,
        }
        named = inputs if isinstance(inputs, Mapping) else {self._only_input(task): inputs}
        try:
            request = request_for(task, named, goals, request_id)
        except TypeError as error:
            raise TrimtabError("INVALID_ARGUMENT", str(error)) from None
        return reply_of(self._call(self._inference["ModelInfer"], request, timeout_s))

    def status(self) -> Status:
        """Return a snapshot of the daemon."""
        return control.status_from_wire(self._ask("DeviceState", cpb.DeviceStateRequest()))

    def families(self, task: str = "") -> tuple[Family, ...]:
        """Return the families the daemon serves, or that of one task."""
        return control.families_from_wire(self._ask("ListFamilies", cpb.ListFamiliesRequest(task=task)))

    def explain(self, decision_id: str = "") -> control.Explanation:
        """Return the story of a request from the journal; of the latest one without an id."""
        return control.story_from_wire(self._ask("Explain", cpb.ExplainRequest(request_id=decision_id)))

    def get_policy(self) -> str:
        """Return the YAML text of the policy in force."""
        answer: cpb.GetPolicyResponse = self._ask("GetPolicy", cpb.GetPolicyRequest())
        return answer.yaml

    def set_policy(self, yaml: str) -> str:
        """Put a policy in force until the next reload or restart, and return its name.

        Raises ``TrimtabError`` with ``problems`` when the text is no valid policy; the old one stays.
        """
        answer: cpb.SetPolicyResponse = self._ask("SetPolicy", cpb.SetPolicyRequest(yaml=yaml))
        problems = control.problems_from_wire(answer.problems)
        if problems:
            raise TrimtabError("INVALID_ARGUMENT", "\n".join(map(str, problems)), problems=problems)
        return answer.name

    def validate_policy(self, yaml: str) -> tuple[Problem, ...]:
        """Return everything wrong with a policy; nothing when it could be used."""
        answer: cpb.ValidatePolicyResponse = self._ask("ValidatePolicy", cpb.ValidatePolicyRequest(yaml=yaml))
        return control.problems_from_wire(answer.problems)

    def watch(self, task: str = "", app: str = "") -> "Watch":
        """Return the requests that end from now on, as an iterator that is also a context manager."""
        return Watch(self, self._control["WatchDecisions"](cpb.WatchDecisionsRequest(task=task, app=app)))

    def _only_input(self, task: str) -> str:
        if task not in self._input_names:
            request = pb.ModelMetadataRequest(name=task)
            answer = self._call(self._inference["ModelMetadata"], request, CONTROL_TIMEOUT_S)
            if len(answer.inputs) != 1:
                names = ", ".join(tensor.name for tensor in answer.inputs)
                message = f"task {task!r} has the inputs {names}: give a dict of arrays by name"
                raise TrimtabError("INVALID_ARGUMENT", message)
            self._input_names[task] = answer.inputs[0].name
        return self._input_names[task]

    def _ask(self, method: str, request: Any) -> Any:
        return self._call(self._control[method], request, CONTROL_TIMEOUT_S)

    def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        with self.readable_errors():
            return method(request, timeout=timeout_s)

    @contextmanager
    def readable_errors(self) -> Iterator[None]:
        """Turn gRPC's errors into ``TrimtabError``."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._error(error) from None

    def _error(self, error: Any) -> TrimtabError:
        code, message = error.code().name, error.details() or ""
        trailing = dict(error.trailing_metadata() or ())
        if code == "UNAVAILABLE" and "failed to connect" in message:
            message = f"no daemon at {self.address}; start one with `trimtab serve` ({message})"
        return TrimtabError(code, message, trailing.get(DECISION_KEY, ""))


class Watch:
    """An endless iterator over finished requests; ends when it is closed or the daemon stops."""

    def __init__(self, client: Client, stream: Any) -> None:
        self._client = client
        self._stream = stream
        with client.readable_errors():
            stream.initial_metadata()  # from here on the daemon records for us

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        try:
            with self._client.readable_errors():
                return control.record_from_wire(next(self._stream))
        except TrimtabError as error:
            if error.code == "CANCELLED":
                raise StopIteration from None
            raise

    def close(self) -> None:
        """Stop watching."""
        self._stream.cancel()


def _own(address: str) -> str:
    path = Path(address.removeprefix(UNIX))
    if address.startswith(UNIX) and path.exists() and path.stat().st_uid not in (os.getuid(), 0):
        raise TrimtabError("PERMISSION_DENIED", f"the socket {path} belongs to another user; give an address")
    return address


def request_for(
    task: str, inputs: Mapping[str, npt.ArrayLike], goals: Mapping[str, Goal], request_id: str = ""
) -> pb.ModelInferRequest:
    """Return the wire form of a request; goals that are ``None`` are left out."""
    request = pb.ModelInferRequest(model_name=task, id=request_id)
    for name, content in inputs.items():
        array = np.asarray(content)
        datatype = datatype_of(array)
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(raw_bytes(array, datatype))
    for name, value in goals.items():
        if isinstance(value, str):
            request.parameters[name].string_param = value
        elif isinstance(value, int | np.integer):
            request.parameters[name].int64_param = int(value)
        elif value is not None:
            request.parameters[name].double_param = float(value)
    return request


def reply_of(response: pb.ModelInferResponse) -> Reply:
    """Return the reply in ``response``."""
    values = {name: _value(parameter) for name, parameter in response.parameters.items()}
    given_up = str(values.get("given_up", ""))
    return Reply(
        outputs={
            tensor.name: np.frombuffer(raw, DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        },
        request_id=response.id,
        given_up=tuple(given_up.split(",")) if given_up else (),
        **{name: values.get(name, default) for name, default in _DEFAULTS.items()},
    )


_DEFAULTS: Final[dict[str, Any]] = {
    "decision_id": "",
    "variant": "",
    "processor": "",
    "exit": -1,
    "exit_rule": "",
    "confidence": 0.0,
    "queue_us": 0,
    "load_us": 0,
    "run_us": 0,
    "predicted_latency_us": 0,
    "predicted_energy_uj": 0.0,
    "energy_uj": 0.0,
    "energy_source": "",
    "cost_usd": 0.0,
    "on_time": False,
    "reason": "",
}


def _value(parameter: pb.InferParameter) -> Any:
    return getattr(parameter, parameter.WhichOneof("parameter_choice") or "bool_param")


def methods_of(channel: Any, name: str) -> dict[str, Any]:
    methods: dict[str, Any] = {}
    for method in service(name).methods:
        if method.client_streaming:
            continue
        build = channel.unary_stream if method.server_streaming else channel.unary_unary
        methods[method.name] = build(
            f"/{name}/{method.name}",
            request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
    return methods


__all__ = ["Client", "Reply", "TrimtabError", "Watch", "default_address"]
