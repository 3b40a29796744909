"""A small engine that really computes, and a real server around it on a real socket."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.client import Client
from trimtab.core.commands import Finish
from trimtab.core.events import RequestArrived
from trimtab.domain.decision import Cause, Decision, Outcome, Result, Verdict, Why
from trimtab.domain.device import DeviceState
from trimtab.domain.family import (
    Dataset,
    ExitRule,
    Family,
    Machine,
    Profile,
    ProfileSet,
    Stage,
    TensorSpec,
    Variant,
)
from trimtab.domain.grounds import Grounds, Outlook, Part, Price
from trimtab.domain.policy import Goal, Policy
from trimtab.domain.processor import Processor
from trimtab.domain.request import Request
from trimtab.engine.api import (
    Answer,
    Call,
    PolicyText,
    ProcessorStatus,
    Record,
    Residency,
    Statistics,
    Status,
)
from trimtab.policy.errors import PolicyError, Problem
from trimtab.ports import Entry, StoredFamily, Story
from trimtab.rpc.address import Listen
from trimtab.rpc.server import RpcServer

TASK = "digits"
LABELS = ("zero", "one", "two")
PROCESSOR = Processor("cpu0", "cpu", (0,), 1)


def _variant(name: str, accuracy: float) -> Variant:
    stage = Stage(f"{name}.npz", "0" * 64, 192, ("image",), ("logits",), "logits", 48, 64)
    rule = ExitRule("full", 0.0, (1.0,), (accuracy,))
    return Variant(name, ("linear",), (stage,), (rule,), accuracy, 48, 40, "fp32")


def make_family() -> Family:
    profile = Profile("large", "cpu0", (1_000,), 0.1, (2.5,), 10, 1.0, 4_096)
    machine = Machine("test cpu", 1, 2**30, "linux", "numpy", "none")
    return Family(
        task=TASK,
        title="Digits for tests",
        inputs=(TensorSpec("image", "FP32", (-1, 1, 4, 4)),),
        outputs=(TensorSpec("logits", "FP32", (-1, 3)),),
        labels=LABELS,
        variants=(_variant("large", 0.95), _variant("small", 0.8)),
        reference="large",
        last_resort="small",
        dataset=Dataset("random", "CC0", "nowhere", 10, 5),
        profiles=ProfileSet(TASK, machine, (profile,)),
    )


@dataclass
class LoopbackEngine:
    """Serves a linear classifier in memory; ``refusal`` and ``delay_s`` bring about what tests need."""

    family: Family = field(default_factory=make_family)
    ready: bool = True
    draining: bool = False
    broken: bool = False
    delay_s: float = 0.0
    refusal: tuple[Outcome, Cause, str] | None = None
    calls: list[Call] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    yaml: str = "name: loopback\n"
    counters: dict[str, Statistics] = field(default_factory=dict)
    watchers: list[asyncio.Queue[Record]] = field(default_factory=list)
    started: int = 0
    in_flight: int = 0

    def weights(self, variant: str) -> Any:
        seed = [v.name for v in self.family.variants].index(variant)
        return np.random.default_rng(seed).standard_normal((16, 3)).astype(np.float32)

    def logits(self, variant: str, image: Any) -> Any:
        return image.reshape(len(image), 16) @ self.weights(variant)

    def families(self) -> dict[str, StoredFamily]:
        return {TASK: StoredFamily(self.family, Path("unused"))}

    async def infer(self, call: Call) -> Answer:
        self.calls.append(call)
        if self.broken:
            raise ZeroDivisionError("a bug")
        self.started += 1
        request_id = f"r{self.started}"
        if self.draining:
            return self._refused(request_id, Outcome.REJECTED, Cause.DRAINING, "the daemon is going down")
        if self.refusal is not None:
            return self._refused(request_id, *self.refusal)
        self.in_flight += 1
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled.append(request_id)
            raise
        finally:
            self.in_flight -= 1
        return self._served(request_id, call)

    def _refused(self, request_id: str, outcome: Outcome, cause: Cause, reason: str) -> Answer:
        return Answer(Result(request_id, outcome, cause, reason), None, {}, "assumed")

    def _served(self, request_id: str, call: Call) -> Answer:
        variant = call.variant or ("large" if (call.min_accuracy_frac or 0) > 0.8 else "small")
        given_up = (Goal.ACCURACY,) if (call.min_accuracy_frac or 0) > 0.95 else ()
        outputs = {"logits": self.logits(variant, call.tensors["image"])}
        decision = Decision(
            request_id, call.task, variant, "cpu0", "full", 0.5, 0.95, 0.99, 10, 0, 2_000_000, 3.5, 123,
            5_000_000, 0.01, given_up, "loopback", ("low",), "large@cpu0", Why.DEADLINE,
        )  # fmt: skip
        result = Result(
            request_id,
            Outcome.DONE,
            Cause.NONE,
            "",
            variant,
            "cpu0",
            0,
            0.75,
            1_500,
            0,
            9_000,
            3.0,
            True,
            given_up,
        )
        self._count(variant, len(call.tensors["image"]))
        record = Record(7, call.task, call.app, decision, result, 0.5, 4_096, 1)
        for watcher in self.watchers:
            watcher.put_nowait(record)
        return Answer(result, decision, outputs, "assumed")

    def _count(self, variant: str, batch: int) -> None:
        counters = self.counters.setdefault(variant, Statistics())
        counters.success.add(10_500)
        counters.run.add(9_000)
        counters.inferences += batch
        counters.executions += 1

    def status(self) -> Status:
        device = DeviceState(0.5, 40_000.0, False, 2**30, None, 0.25, 41_000, 3_600, (("battery", "file"),))
        return Status(
            "1", 3, 5, self.ready, self.draining, device, "none", "loopback", "", ("low",), 0.01, 2**20,
            4_096, 2**25, self.in_flight, (ProcessorStatus(PROCESSOR, 1.25, True, 2, 9),),
            (Residency(TASK, "small", "onnxruntime/cpu/1", "loaded", 4_096, 3),), {"done": 4}, 4,
        )  # fmt: skip

    def statistics(self, task: str) -> dict[str, Statistics]:
        assert task == TASK
        return self.counters

    async def watch(self) -> AsyncIterator[Record]:
        queue: asyncio.Queue[Record] = asyncio.Queue(100)
        self.watchers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.watchers.remove(queue)

    async def explain(self, request_id: str) -> Story:
        if request_id not in ("", "r1"):
            raise KeyError(request_id)
        result = Result("r1", Outcome.DONE, variant="small")
        entries = (Entry(1, 5, RequestArrived(Request("r1", TASK))), Entry(2, 6, Finish(result)))
        parts = (Part("accuracy", 0.2), Part("energy", -0.3))
        verdicts = (Verdict("large@cpu0", Why.DEADLINE, -0.1, 0.95, 0.3, 1, 2, 3, 4.5, "too slow", parts),)
        return Story("r1", entries, (verdicts,), (GROUNDS,))

    def policy(self) -> PolicyText:
        return PolicyText(Policy("loopback", "for tests"), self.yaml, "memory")

    async def validate_policy(self, yaml: str) -> Policy:
        if not yaml.startswith("name: "):
            raise PolicyError(
                [Problem("policy", 1, 2, "name", "is missing"), Problem("policy", 0, 0, "", "bad")]
            )
        return Policy(yaml.removeprefix("name: ").strip())

    async def set_policy(self, yaml: str) -> Policy:
        policy = await self.validate_policy(yaml)
        self.yaml = yaml
        return policy


GROUNDS = Grounds(
    9, 1, 0.9, 0.95, 2.0, None, 4.5, (Price("energy", 0.5, "J", "horizon"),), (Outlook("cpu0", 1.5, 0.1, 7, 3, 4, True),)
)  # fmt: skip


class Served:
    """A server on a thread of its own, so that blocking clients can be used in the test."""

    def __init__(self, engine: LoopbackEngine, listen: Listen) -> None:
        self.engine = engine
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.server = self.do(self._make(listen))
        self.do(self.server.start())

    @property
    def address(self) -> str:
        return str(self.server.addresses[0])

    async def _make(self, listen: Listen) -> RpcServer:
        return RpcServer(self.engine, listen)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        self.do(self.server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def family() -> Family:
    return make_family()


@pytest.fixture
def engine() -> LoopbackEngine:
    return LoopbackEngine()


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "t.sock"


@pytest.fixture
def served(engine: LoopbackEngine, socket_path: Path) -> Iterator[Served]:
    running = Served(engine, Listen(socket=socket_path))
    yield running
    running.close()


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.address) as connected:
        yield connected


@pytest.fixture
def image() -> Any:
    return np.random.default_rng(7).standard_normal((1, 1, 4, 4)).astype(np.float32)
