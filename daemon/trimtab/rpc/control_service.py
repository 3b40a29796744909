"""The control plane over gRPC: convert, ask the engine, convert."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from trimtab.engine.api import Inference, Record
from trimtab.policy.errors import PolicyError
from trimtab.rpc import control
from trimtab.rpc.errors import Code, WireError, not_found, shown
from trimtab.rpc.pb import control_pb2 as pb
from trimtab.rpc.service import Context, abort

log = logging.getLogger(__name__)


class ControlService:
    """Serves ``trimtab.control.v1.Control``."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End the streams of all watchers."""
        self._closing.set()

    async def explain(self, request: pb.ExplainRequest, context: Context) -> pb.Story:
        """Return the story of one request, or of the latest."""
        try:
            return control.story_to_wire(await self._inference.explain(request.request_id))
        except KeyError:
            what = f"request {shown(request.request_id)}" if request.request_id else "any request"
            await abort(context, WireError(Code.NOT_FOUND, f"the journal has no record of {what}"))
        except Exception as error:
            log.exception("a request could not be explained")
            await abort(context, WireError(Code.INTERNAL, f"the journal cannot be read: {error}"))

    async def device_state(self, _: pb.DeviceStateRequest, __: Context) -> pb.Status:
        """Return a snapshot of the daemon."""
        return control.status_to_wire(self._inference.status())

    async def list_families(
        self, request: pb.ListFamiliesRequest, context: Context
    ) -> pb.ListFamiliesResponse:
        """Return one family or all."""
        families = self._inference.families()
        if request.task and request.task not in families:
            await abort(context, not_found("task", request.task, sorted(families)))
        wanted = [families[request.task]] if request.task else families.values()
        return control.families_to_wire(stored.family for stored in wanted)

    async def get_policy(self, _: pb.GetPolicyRequest, __: Context) -> pb.GetPolicyResponse:
        """Return the policy in force."""
        return control.policy_to_wire(self._inference.policy())

    async def set_policy(self, request: pb.SetPolicyRequest, _: Context) -> pb.SetPolicyResponse:
        """Put a policy in force, or say what is wrong with it."""
        try:
            return pb.SetPolicyResponse(name=(await self._inference.set_policy(request.yaml)).name)
        except PolicyError as error:
            return pb.SetPolicyResponse(problems=control.problems_to_wire(error.problems))

    async def validate_policy(
        self, request: pb.ValidatePolicyRequest, _: Context
    ) -> pb.ValidatePolicyResponse:
        """Say what is wrong with a policy."""
        try:
            return pb.ValidatePolicyResponse(name=(await self._inference.validate_policy(request.yaml)).name)
        except PolicyError as error:
            return pb.ValidatePolicyResponse(problems=control.problems_to_wire(error.problems))

    async def watch_decisions(
        self, request: pb.WatchDecisionsRequest, context: Context
    ) -> AsyncIterator[pb.Record]:
        """Stream each request that ends from now on, until the caller or the daemon goes."""
        records = self._inference.watch()
        step = asyncio.ensure_future(anext(records))
        await asyncio.sleep(0)  # a generator registers its reader in its first step
        await context.send_initial_metadata(())  # tells the caller that watching has begun
        async for record in _until(self._closing, records, step):
            if control.passes(record, request):
                yield control.record_to_wire(record)


async def _until(
    closing: asyncio.Event, records: AsyncIterator[Record], step: asyncio.Future[Any]
) -> AsyncIterator[Record]:
    closed: asyncio.Future[Any] = asyncio.ensure_future(closing.wait())
    try:
        while True:
            await asyncio.wait([step, closed], return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                return
            try:
                yield step.result()
            except StopAsyncIteration:
                return
            step = asyncio.ensure_future(anext(records))
    finally:
        closed.cancel()
        step.cancel()
        await asyncio.wait([step])
