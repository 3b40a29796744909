"""Requests and answers between the Open Inference wire and the domain. Pure: no server library, no I/O."""

from collections.abc import Iterable, Mapping
from typing import Final

from trimtab.domain.family import Family, TensorSpec
from trimtab.domain.quantities import NS_PER_US
from trimtab.engine.api import Answer, Call
from trimtab.ports import Array, StoredFamily
from trimtab.rpc.errors import invalid, not_found, shown
from trimtab.rpc.parameters import Goals, goals, number
from trimtab.rpc.pb.inference_pb2 import ModelInferRequest, ModelInferResponse
from trimtab.rpc.tensors import InputReader, pack_bytes, raw_bytes, top_classes

CLASSES_LIMIT: Final = 100_000


class TaskCodec:
    """Turns the requests of one task into calls and its answers into responses.

    Built once per family: names, shapes and datatypes are worked out here, not per request.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self._inputs = {spec.name: InputReader(spec) for spec in family.inputs}
        self._batched = next((spec.name for spec in family.inputs if spec.shape[:1] == (-1,)), "")
        self._outputs = {spec.name: spec for spec in family.outputs}
        self._variants = {variant.name for variant in family.variants}

    def call(self, request: ModelInferRequest, remaining_s: float | None = None, app: str = "") -> Call:
        """Return what ``request`` asks for; raise ``WireError`` for anything that cannot be served.

        ``remaining_s`` is what is left of the transport's own deadline, ``app`` what the transport knows
        of the caller.
        """
        wanted = goals(request.parameters)
        variant = self._variant(request.model_version, wanted)
        for output in request.outputs:
            self._check_output(output)
        if len(request.outputs) > 1 and len({output.name for output in request.outputs}) < len(
            request.outputs
        ):
            raise invalid("expected each output once, got one twice")
        tensors = self._tensors(request)
        return Call(
            task=self.family.task,
            tensors=tensors,
            app=wanted.app or app,
            latency_budget_ns=wanted.budget_ns(remaining_s),
            min_accuracy_frac=wanted.min_accuracy_frac,
            max_energy_uj=wanted.max_energy_uj,
            priority=wanted.priority,
            prefer=wanted.prefer,
            variant=variant,
            processor=wanted.processor,
            strict=wanted.strict,
            batch=tensors[self._batched].shape[0] if self._batched else 1,
        )

    def response(self, request: ModelInferRequest, answer: Answer) -> ModelInferResponse:
        """Return the wire form of an answer that is done, with the outputs that ``request`` asked for."""
        response = ModelInferResponse(
            model_name=self.family.task, model_version=answer.result.variant, id=request.id
        )
        if request.outputs:
            for wanted in request.outputs:
                array = answer.outputs[wanted.name]
                if "classification" in wanted.parameters:
                    self._add_classes(response, wanted, array)
                else:
                    _add_output(response, self._outputs[wanted.name], array)
        else:
            for name, spec in self._outputs.items():
                _add_output(response, spec, answer.outputs[name])
        _add_parameters(response, answer)
        return response

    def check_version(self, version: str) -> None:
        """Raise ``WireError`` unless ``version`` is empty or names a variant."""
        if version and version not in self._variants:
            known = [variant.name for variant in self.family.variants]
            raise not_found(f"version (variant) of model '{self.family.task}':", version, known)

    def _variant(self, version: str, wanted: Goals) -> str:
        self.check_version(version)
        self.check_version(wanted.variant)
        if version and wanted.variant and version != wanted.variant:
            raise invalid(
                f"model_version {shown(version)} and parameter 'variant' {shown(wanted.variant)} differ"
            )
        return version or wanted.variant

    def _tensors(self, request: ModelInferRequest) -> dict[str, Array]:
        inputs = request.inputs
        raws: Iterable[bytes | None] = request.raw_input_contents
        if not request.raw_input_contents:
            raws = [None] * len(inputs)
        elif len(request.raw_input_contents) != len(inputs):
            raise invalid(
                f"raw_input_contents: expected one entry per input ({len(inputs)}), "
                f"got {len(request.raw_input_contents)}"
            )
        tensors: dict[str, Array] = {}
        for tensor, raw in zip(inputs, raws, strict=True):
            reader = self._inputs.get(tensor.name)
            if reader is None:
                raise invalid(
                    f"unknown input {shown(tensor.name)}; task '{self.family.task}' takes: {self._takes()}"
                )
            if tensor.name in tensors:
                raise invalid(f"input '{tensor.name}': expected once, got it twice")
            tensors[tensor.name] = reader.read(tensor, raw)
        self._check_complete(tensors)
        return tensors

    def _check_complete(self, tensors: dict[str, Array]) -> None:
        if len(tensors) != len(self._inputs):
            missing = next(name for name in self._inputs if name not in tensors)
            raise invalid(f"input '{missing}' is missing; task '{self.family.task}' takes: {self._takes()}")
        if len(tensors) > 1:
            batches = {
                name: tensors[name].shape[0] for name, r in self._inputs.items() if r.spec.shape[:1] == (-1,)
            }
            if len(set(batches.values())) > 1:
                raise invalid(f"expected one batch size for all inputs, got {batches}")

    def _takes(self) -> str:
        return ", ".join(
            f"{r.spec.name} ({r.spec.datatype} {list(r.spec.shape)})" for r in self._inputs.values()
        )

    def _check_output(self, output: ModelInferRequest.InferRequestedOutputTensor) -> None:
        if output.name not in self._outputs:
            known = ", ".join(self._outputs)
            raise invalid(f"unknown output {shown(output.name)}; task '{self.family.task}' returns: {known}")
        if "shared_memory_region" in output.parameters:
            raise invalid(f"output '{output.name}': trimtab does not support shared memory regions")
        if "classification" in output.parameters:
            _class_count(output)

    def _add_classes(
        self,
        response: ModelInferResponse,
        wanted: ModelInferRequest.InferRequestedOutputTensor,
        array: Array,
    ) -> None:
        rows = top_classes(array, _class_count(wanted), self.family.labels)
        shape = [len(rows), len(rows[0])] if array.ndim > 1 else [len(rows[0])]
        response.outputs.add(name=wanted.name, datatype="BYTES", shape=shape)
        response.raw_output_contents.append(pack_bytes([element for row in rows for element in row]))


def _class_count(output: ModelInferRequest.InferRequestedOutputTensor) -> int:
    expected = f"a whole number from 1 to {CLASSES_LIMIT}"
    count = number("classification", output.parameters["classification"], expected)
    if count != int(count) or not 1 <= count <= CLASSES_LIMIT:
        raise invalid(
            f"parameter 'classification' of output '{output.name}': expected {expected}, got {count}"
        )
    return int(count)


def _add_output(response: ModelInferResponse, spec: TensorSpec, array: Array) -> None:
    response.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
    response.raw_output_contents.append(raw_bytes(array, spec.datatype))


def _add_parameters(response: ModelInferResponse, answer: Answer) -> None:
    result, decision, parameters = answer.result, answer.decision, response.parameters
    parameters["decision_id"].string_param = result.request_id
    parameters["variant"].string_param = result.variant
    parameters["processor"].string_param = result.processor
    parameters["exit"].int64_param = result.exit_index
    parameters["confidence"].double_param = result.confidence
    parameters["queue_us"].int64_param = result.queue_ns // NS_PER_US
    parameters["load_us"].int64_param = result.load_ns // NS_PER_US
    parameters["run_us"].int64_param = result.run_ns // NS_PER_US
    parameters["energy_uj"].double_param = result.energy_uj
    parameters["cost_usd"].double_param = result.cost_usd
    parameters["energy_source"].string_param = answer.energy_source
    parameters["on_time"].bool_param = result.on_time
    parameters["given_up"].string_param = ",".join(result.given_up)
    if decision is not None:
        parameters["exit_rule"].string_param = decision.exit_rule
        parameters["predicted_latency_us"].int64_param = decision.latency_ns // NS_PER_US
        parameters["predicted_energy_uj"].double_param = decision.energy_uj
        parameters["reason"].string_param = decision.summary


class Codecs:
    """The codecs of all tasks, each rebuilt when the family of its task is replaced."""

    def __init__(self) -> None:
        self._codecs: dict[str, TaskCodec] = {}

    def of(self, task: str, families: Mapping[str, StoredFamily]) -> TaskCodec:
        """Return the codec of ``task``; raise ``WireError`` naming the tasks there are."""
        stored = families.get(task)
        if stored is None:
            raise not_found("model", task, sorted(families))
        codec = self._codecs.get(task)
        if codec is None or codec.family is not stored.family:
            codec = self._codecs[task] = TaskCodec(stored.family)
        return codec
