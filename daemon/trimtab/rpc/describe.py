"""Tasks and counters in the words of the Open Inference Protocol and Triton. Pure."""

from collections.abc import Mapping
from typing import Final

from trimtab.domain.family import Family, TensorSpec
from trimtab.engine.api import Counter, Statistics
from trimtab.ports import StoredFamily
from trimtab.rpc.pb import inference_pb2 as pb
from trimtab.rpc.tensors import BATCH_LIMIT, DTYPES

SERVER_NAME: Final = "trimtab"
PLATFORM: Final = "trimtab"
EXTENSIONS: Final = (
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
    "trimtab_goals",
)

_TYPES: Final = {name: getattr(pb.DataType, f"TYPE_{name}") for name in DTYPES}


def metadata(family: Family, version: str) -> pb.ModelMetadataResponse:
    """Return variants, inputs and outputs of a task; ``version`` narrows it to one variant."""
    versions = [version] if version else [variant.name for variant in family.variants]
    return pb.ModelMetadataResponse(
        name=family.task,
        versions=versions,
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in family.inputs],
        outputs=[_tensor(spec) for spec in family.outputs],
    )


def config(family: Family) -> pb.ModelConfigResponse:
    """Return a task as a Triton model configuration."""
    batched = all(spec.shape[:1] == (-1,) for spec in (*family.inputs, *family.outputs))
    start = 1 if batched else 0
    answer = pb.ModelConfig(
        name=family.task,
        platform=PLATFORM,
        backend=PLATFORM,
        max_batch_size=BATCH_LIMIT if batched else 0,
        input=[
            pb.ModelInput(name=spec.name, data_type=_TYPES[spec.datatype], dims=spec.shape[start:])
            for spec in family.inputs
        ],
        output=[
            pb.ModelOutput(name=spec.name, data_type=_TYPES[spec.datatype], dims=spec.shape[start:])
            for spec in family.outputs
        ],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )
    answer.parameters["title"].string_value = family.title
    answer.parameters["variants"].string_value = ",".join(variant.name for variant in family.variants)
    return pb.ModelConfigResponse(config=answer)


def statistics(task: str, by_variant: Mapping[str, Statistics], version: str) -> list[pb.ModelStatistics]:
    """Return the counters of a task, one entry per variant; ``version`` narrows it to one."""
    return [
        _statistics(task, variant, counters)
        for variant, counters in by_variant.items()
        if version in ("", variant)
    ]


def index(families: Mapping[str, StoredFamily], ready: bool, only_ready: bool) -> pb.RepositoryIndexResponse:
    """Return every variant of every task and whether it can be asked for."""
    response = pb.RepositoryIndexResponse()
    if only_ready and not ready:
        return response
    for task, stored in families.items():
        for variant in stored.family.variants:
            response.models.add(
                name=task,
                version=variant.name,
                state="READY" if ready else "UNAVAILABLE",
                reason="" if ready else "the daemon admits nothing at the moment",
            )
    return response


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _statistics(task: str, variant: str, counters: Statistics) -> pb.ModelStatistics:
    return pb.ModelStatistics(
        name=task,
        version=variant,
        last_inference=counters.last_inference_ms,
        inference_count=counters.inferences,
        execution_count=counters.executions,
        inference_stats=pb.InferStatistics(
            success=_duration(counters.success),
            fail=_duration(counters.fail),
            queue=_duration(counters.queue),
            compute_input=_duration(counters.load),
            compute_infer=_duration(counters.run),
            compute_output=pb.StatisticDuration(),
        ),
    )


def _duration(counter: Counter) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=counter.count, ns=counter.ns)
