"""Servers elsewhere as processors: a runtime that asks any KServe v2 (Open Inference) gRPC server.

The server's model is called as the task, its version as the variant, unless it knows no versions. What leaves the
device is the request's own tensors and the time left for it; what comes back is the variant's logits.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import grpc

from trimtab.client import methods_of, reply_of, request_for
from trimtab.domain.family import Variant
from trimtab.domain.processor import REMOTE, Processor
from trimtab.domain.quantities import NS_PER_S, NS_PER_US, UJ_PER_MJ, Source
from trimtab.ports import (
    Array,
    EnergyMeter,
    EnergyReading,
    LinkFailure,
    Loaded,
    RuntimeFailure,
    Tensors,
)
from trimtab.rpc.pb import INFERENCE
from trimtab.rpc.pb import inference_pb2 as pb

LOOK_S = 1.0
"""A server that does not say within this that it lives is out of reach."""
PATIENCE_S = 5.0
"""What nobody set a deadline for is waited for no longer."""
LEAST_S = 0.05
"""Nor is anything given less time than this: late answers are answers, too."""
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
SEND_MJ = 3.8
"""Energy of sending one request where the operator does not say: the constant of MCDNN (MobiSys 2016). Assumed."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server as an operator names it; prices in US dollars, ``concurrent`` 0 for any number of requests at once."""

    name: str
    address: str
    tasks: str = "*"
    usd_per_request: float = 0.0
    usd_per_ms: float = 0.0
    concurrent: int = 0
    send_mj: float = SEND_MJ

    @classmethod
    def parse(cls, text: str) -> "ServerSpec":
        """Read ``NAME=HOST:PORT[,KEY=VALUE...]``; raise ``ValueError`` naming what is wrong."""
        first, *more = text.split(",")
        name, _, address = first.partition("=")
        if not name or not address or "/" in name or "@" in name:
            raise ValueError(f"{text!r} is no server; write NAME=HOST:PORT[,KEY=VALUE...]")
        told: dict[str, Any] = {}
        for part in more:
            key, _, value = part.partition("=")
            if key not in _KEYS:
                raise ValueError(f"{text!r}: unknown key {key!r}; known: {', '.join(_KEYS)}")
            try:
                told[key] = _KEYS[key](value)
            except ValueError:
                raise ValueError(f"{text!r}: {key} cannot be {value!r}") from None
        return cls(name, address, **told)


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0.0 <= number < math.inf:
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    return int(_not_negative(text))


_KEYS: Final[Mapping[str, Callable[[str], Any]]] = {
    "tasks": str,
    "usd_per_request": _not_negative,
    "usd_per_ms": _not_negative,
    "concurrent": _count,
    "send_mj": _not_negative,
}


@dataclass(slots=True)
class _Offered:
    """What a loaded variant is called: its logits here, and the model there."""

    logits: str
    inputs: tuple[str, ...]
    version: str


@dataclass(slots=True)
class _Looks:
    """What looking at the server found out."""

    round_trip_ns: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class RemoteRuntime:
    """Executes variants on one server. All methods may be called from any thread."""

    def __init__(self, spec: ServerSpec) -> None:
        """Prepare the connection; nothing is sent before it is needed."""
        self.spec = spec
        options = [
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
            ("grpc.enable_retries", 0),
        ]
        self._channel = grpc.insecure_channel(spec.address, options)
        self._ask = methods_of(self._channel, INFERENCE)
        self._offered: dict[tuple[str, str], _Offered] = {}
        self._looks = _Looks()

    @property
    def name(self) -> str:
        """Return the name processors refer to."""
        return f"server:{self.spec.name}"

    @property
    def description(self) -> str:
        """Return name and address in one line."""
        return f"KServe v2 server {self.spec.name} at {self.spec.address}"

    def processor(self) -> Processor:
        """Return the server as a processor; the way there and back is measured if it can be reached."""
        spec = self.spec
        self.look()
        return Processor(
            spec.name,
            REMOTE,
            (),
            1,
            self.name,
            REMOTE,
            self._looks.round_trip_ns,
            spec.usd_per_request,
            spec.usd_per_ms,
            spec.concurrent,
        )

    def look(self) -> tuple[bool, int]:
        """Return whether the server lives and can be reached, and how long a message takes there and back (ns)."""
        began_ns = time.perf_counter_ns()
        try:
            live = self._ask["ServerLive"](pb.ServerLiveRequest(), timeout=LOOK_S).live
        except grpc.RpcError:
            return False, 0
        round_trip_ns = time.perf_counter_ns() - began_ns
        with self._looks.lock:
            least_ns = self._looks.round_trip_ns
            self._looks.round_trip_ns = min(least_ns or round_trip_ns, round_trip_ns)
        return live, round_trip_ns

    def load(self, task: str, variant: Variant, folder: Path, processor: Processor) -> Loaded:
        """Ask whether the server has the variant; raise ``RuntimeFailure``. Nothing is held here."""
        del folder, processor
        if not fnmatchcase(task, self.spec.tasks):
            raise RuntimeFailure(f"{self.spec.name} is not asked for {task!r}")
        if len(variant.stages) != 1:
            raise RuntimeFailure(
                f"{task}/{variant.name}: a server runs a variant in one piece, not in stages"
            )
        began_ns, stage = time.perf_counter_ns(), variant.stages[0]
        request = pb.ModelReadyRequest(name=task, version=variant.name)
        if not self._call("ModelReady", request, PATIENCE_S).ready:
            raise RuntimeFailure(f"{self.spec.name} does not have {task}/{variant.name}")
        self._offered[task, variant.name] = _Offered(stage.logits, stage.inputs, variant.name)
        return Loaded(time.perf_counter_ns() - began_ns, 0)

    def run(
        self, task: str, variant: str, processor: Processor, stage: int, tensors: Tensors
    ) -> dict[str, Array]:
        """Run a variant without a deadline; raise ``RuntimeFailure``."""
        return self.run_within(task, variant, processor, stage, tensors, int(PATIENCE_S * NS_PER_S))

    def run_within(
        self,
        task: str,
        variant: str,
        processor: Processor,
        stage: int,
        tensors: Tensors,
        budget_ns: int,
    ) -> dict[str, Array]:
        """Run a variant and tell the server how much time is left.

        Raises ``LinkFailure`` when no answer came, ``RuntimeFailure`` when the server refused.
        """
        del processor, stage
        offered = self._offered.get((task, variant))
        if offered is None:
            raise RuntimeFailure(f"{task}/{variant} is not loaded on {self.spec.name}")
        left_s = max(LEAST_S, min(PATIENCE_S, budget_ns / NS_PER_S))
        inputs = {name: tensors[name] for name in offered.inputs}
        request = request_for(task, inputs, {"timeout": int(left_s * NS_PER_S / NS_PER_US)})
        request.model_version = offered.version
        outputs = reply_of(self._call("ModelInfer", request, left_s)).outputs
        if not outputs:
            raise RuntimeFailure(f"{self.spec.name} returned no output for {task}/{variant}")
        return {offered.logits: next(iter(outputs.values()))}

    def evict(self, task: str, variant: str, pool: str) -> None:
        """Forget a variant; what the server holds is its own business."""
        del pool
        self._offered.pop((task, variant), None)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _call(self, method: str, request: Any, timeout_s: float) -> Any:
        try:
            return self._ask[method](request, timeout=timeout_s)
        except grpc.RpcError as error:
            code, told = error.code(), error.details() or ""
            message = f"{self.spec.name} at {self.spec.address}: {code.name}: {told}"
            raise (LinkFailure if code in LOST else RuntimeFailure)(message) from None


class SendingMeter:
    """Tells what sending takes for servers, and asks another meter about everything else."""

    def __init__(self, meter: EnergyMeter, servers: Sequence[ServerSpec]) -> None:
        """Meter servers by what their operator says sending one request takes."""
        self._meter = meter
        self._send_uj = {spec.name: spec.send_mj * UJ_PER_MJ for spec in servers}

    @property
    def description(self) -> str:
        """Return which meter or model this is."""
        sending = ", ".join(f"{uj / UJ_PER_MJ:g} mJ to {name}" for name, uj in self._send_uj.items())
        return f"{self._meter.description}; sending: {sending} (assumed)"

    @property
    def source(self) -> Source:
        """Return whether figures of this device are measured or assumed."""
        return self._meter.source

    def run_energy(self, processor: Processor, run_ns: int) -> EnergyReading:
        """Return the energy above idle of a run here, or of sending a request to a server."""
        send_uj = self._send_uj.get(processor.name) if processor.is_remote else None
        if send_uj is None:
            return self._meter.run_energy(processor, run_ns)
        return EnergyReading(send_uj, Source.ASSUMED)
