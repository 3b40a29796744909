"""The protocols on the wire: what is committed is what the sources say, and what Triton's client speaks."""

import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default
from tritonclient.grpc import model_config_pb2, service_pb2

from trimtab.domain.decision import Decision, Result
from trimtab.domain.device import DeviceState
from trimtab.domain.family import Profile
from trimtab.domain.processor import Processor
from trimtab.engine.api import ProcessorStatus, Residency, Status
from trimtab.rpc.pb import INFERENCE, control_pb2, inference_pb2, service

PROTO = Path(__file__).parents[2] / "proto"
OURS: Any = vars(inference_pb2)["DESCRIPTOR"]


def test_committed_stubs_are_those_of_the_sources(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_stubs", PROTO / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for fresh in module.generate(tmp_path):
        assert fresh.read_bytes() == (module.STUBS / fresh.name).read_bytes(), "run `make stubs`"


def _fields(message: Descriptor) -> dict[str, tuple[Any, ...]]:
    def kind(field: Any) -> str:
        target = field.message_type or field.enum_type
        return target.full_name if target else ""

    return {
        field.name: (
            field.number,
            field.type,
            kind(field),
            field.is_repeated,
            field.containing_oneof.name if field.containing_oneof else "",
        )
        for field in message.fields
    }


def _messages(container: Any) -> list[Descriptor]:
    found: list[Descriptor] = []
    for message in container:
        found += [message, *_messages(message.nested_types)]
    return found


@pytest.mark.parametrize("message", _messages(OURS.message_types_by_name.values()), ids=lambda m: m.full_name)
def test_messages_equal_tritons(message: Descriptor) -> None:
    default: Any = Default
    pool = default()
    theirs = _fields(pool.FindMessageTypeByName(message.full_name))
    for name, field in _fields(message).items():
        assert theirs[name] == field


def test_enums_equal_tritons() -> None:
    theirs = model_config_pb2.DataType.DESCRIPTOR.values_by_name
    ours = OURS.enum_types_by_name["DataType"].values_by_name
    assert {name: value.number for name, value in ours.items()} == {
        name: value.number for name, value in theirs.items()
    }


def test_methods_equal_tritons() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in service(INFERENCE).methods:
        other = theirs[method.name]
        assert (method.input_type.full_name, method.output_type.full_name) == (
            other.input_type.full_name,
            other.output_type.full_name,
        )
        assert (method.client_streaming, method.server_streaming) == (
            other.client_streaming,
            other.server_streaming,
        )


def test_bytes_are_understood_by_both() -> None:
    request = inference_pb2.ModelInferRequest(model_name="digits", id="7", raw_input_contents=[b"abc"])
    request.inputs.add(name="image", datatype="UINT8", shape=[3])
    request.parameters["priority"].uint64_param = 3
    theirs = service_pb2.ModelInferRequest.FromString(request.SerializeToString())
    assert theirs.parameters["priority"].uint64_param == 3
    assert inference_pb2.ModelInferRequest.FromString(theirs.SerializeToString()) == request


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (DeviceState, control_pb2.DeviceReading),
        (Decision, control_pb2.Decision),
        (Result, control_pb2.Result),
        (Processor, control_pb2.Processor),
        (ProcessorStatus, control_pb2.ProcessorStatus),
        (Status, control_pb2.Status),
        (Residency, control_pb2.Residency),
        (Profile, control_pb2.Profile),
    ],
)
def test_a_message_has_every_field_of_what_it_mirrors(kind: type, message: Any) -> None:
    told = {field.name for field in message.DESCRIPTOR.fields}
    assert {field.name for field in fields(kind)} <= told
