"""The Open Inference Protocol over gRPC: convert, ask the engine, convert."""

import asyncio
import logging
from collections.abc import AsyncIterator

from trimtab import __version__
from trimtab.domain.decision import Outcome
from trimtab.engine.api import Inference
from trimtab.rpc import describe
from trimtab.rpc.convert import Codecs, TaskCodec
from trimtab.rpc.errors import Code, WireError, failure, shown
from trimtab.rpc.pb import inference_pb2 as pb
from trimtab.rpc.service import Context, abort, app_of
from trimtab.rpc.streaming import answers

FINAL_RESPONSE = "triton_final_response"
log = logging.getLogger(__name__)


class InferenceService:
    """Serves ``inference.GRPCInferenceService`` and counts the requests it has not answered yet."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._codecs = Codecs()
        self._unanswered = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Return once every request that came in has its answer."""
        await self._idle.wait()

    async def model_infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Serve one inference."""
        try:
            return await self._answer(request, context.time_remaining(), app_of(context))
        except WireError as error:
            await abort(context, error)

    async def model_stream_infer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Serve the requests of a stream side by side; an error answers its request, not the stream."""
        app = app_of(context)

        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            return await self._stream_answer(request, app)

        async for response in answers(requests, answer):
            yield response

    async def server_live(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        """Say whether requests would be admitted now."""
        return pb.ServerReadyResponse(ready=self._inference.ready)

    async def model_ready(self, request: pb.ModelReadyRequest, _: Context) -> pb.ModelReadyResponse:
        """Say whether a task, or one variant of it, can be asked for; unknown ones cannot."""
        try:
            self._codec(request.name, request.version)
        except WireError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._inference.ready)

    async def server_metadata(self, _: pb.ServerMetadataRequest, __: Context) -> pb.ServerMetadataResponse:
        """Return name, version and protocol extensions."""
        return pb.ServerMetadataResponse(
            name=describe.SERVER_NAME, version=__version__, extensions=describe.EXTENSIONS
        )

    async def model_metadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Return variants, inputs and outputs of a task."""
        try:
            return describe.metadata(self._codec(request.name, request.version).family, request.version)
        except WireError as error:
            await abort(context, error)

    async def model_config(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Return a task as a Triton model configuration."""
        try:
            return describe.config(self._codec(request.name, request.version).family)
        except WireError as error:
            await abort(context, error)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return the counters of one task or all, of one variant or all."""
        try:
            tasks = [request.name] if request.name else list(self._inference.families())
            if request.name:
                self._codec(request.name, request.version)
        except WireError as error:
            await abort(context, error)
        response = pb.ModelStatisticsResponse()
        for task in tasks:
            counters = self._inference.statistics(task)
            response.model_stats.extend(describe.statistics(task, counters, request.version))
        return response

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _: Context
    ) -> pb.RepositoryIndexResponse:
        """Return every variant of every task."""
        if request.repository_name:
            return pb.RepositoryIndexResponse()
        return describe.index(self._inference.families(), self._inference.ready, request.ready)

    def _codec(self, task: str, version: str = "") -> TaskCodec:
        codec = self._codecs.of(task, self._inference.families())
        codec.check_version(version)
        return codec

    async def _answer(
        self, request: pb.ModelInferRequest, remaining_s: float | None, app: str
    ) -> pb.ModelInferResponse:
        try:
            return await self._infer(request, remaining_s, app)
        except WireError:
            raise
        except Exception as error:
            log.exception("request %s for %s broke", shown(request.id), shown(request.model_name))
            raise WireError(Code.INTERNAL, f"unexpected {type(error).__name__}; see the log") from error

    async def _infer(
        self, request: pb.ModelInferRequest, remaining_s: float | None, app: str
    ) -> pb.ModelInferResponse:
        self._unanswered += 1
        self._idle.clear()
        try:
            codec = self._codecs.of(request.model_name, self._inference.families())
            answer = await self._inference.infer(codec.call(request, remaining_s, app))
            if answer.result.outcome is not Outcome.DONE:
                raise failure(answer.result)
            return codec.response(request, answer)
        finally:
            self._unanswered -= 1
            if not self._unanswered:
                self._idle.set()

    async def _stream_answer(self, request: pb.ModelInferRequest, app: str) -> pb.ModelStreamInferResponse:
        try:
            answer = await self._answer(request, None, app)
        except WireError as error:
            return _stream_error(request, error)
        answer.parameters[FINAL_RESPONSE].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answer)


def _stream_error(request: pb.ModelInferRequest, error: WireError) -> pb.ModelStreamInferResponse:
    about = f"request {shown(request.id)}: " if request.id else ""
    response = pb.ModelStreamInferResponse(error_message=f"{about}{error.code.name}: {error.message}")
    response.infer_response.model_name = request.model_name
    response.infer_response.id = request.id
    response.infer_response.parameters[FINAL_RESPONSE].bool_param = True
    if error.decision_id:
        response.infer_response.parameters["decision_id"].string_param = error.decision_id
    return response
