"""Pure conversion: what goes in comes out, and whatever comes in, only ``WireError`` comes out."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.client import reply_of, request_for
from trimtab.domain.decision import Cause, Decision, Outcome, Result, Why
from trimtab.domain.family import Family, TensorSpec
from trimtab.domain.policy import Goal
from trimtab.domain.request import Prefer
from trimtab.engine.api import Answer, Record
from trimtab.rpc import control
from trimtab.rpc.convert import TaskCodec
from trimtab.rpc.errors import CAUSES, Code, WireError, failure
from trimtab.rpc.pb.inference_pb2 import InferParameter, ModelInferRequest
from trimtab.rpc.tensors import BATCH_LIMIT, DTYPES, FIELDS, pack_bytes, top_classes

fixtures_ok = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_conversion_knows_no_server_library() -> None:
    code = "import sys, trimtab.rpc.convert, trimtab.rpc.control; sys.exit('grpc' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def _codec(family: Family, *inputs: TensorSpec) -> TaskCodec:
    return TaskCodec(replace(family, inputs=inputs) if inputs else family)


def _request(image: Any, **parameters: Any) -> ModelInferRequest:
    request = request_for("digits", {"image": image}, {})
    for name, value in parameters.items():
        request.parameters[name].CopyFrom(_parameter(value))
    return request


def _parameter(value: Any) -> InferParameter:
    if isinstance(value, InferParameter):
        return value
    if isinstance(value, bool):
        return InferParameter(bool_param=value)
    if isinstance(value, int):
        return InferParameter(int64_param=value)
    return (
        InferParameter(double_param=value) if isinstance(value, float) else InferParameter(string_param=value)
    )


def _answer(outputs: dict[str, Any]) -> Answer:
    decision = Decision(
        "r1", "digits", "small", "cpu0", "full", 0.5, 0.95, 0.99, 10, 0, 2_000_000, 3.5, 123, 5_000_000,
        0.01, (), "loopback", (), "large@cpu0", Why.DEADLINE,
    )  # fmt: skip
    given_up = (Goal.ENERGY, Goal.DEADLINE)
    result = Result(
        "r1", Outcome.DONE, Cause.NONE, "", "small", "cpu0", 1, 0.5, 9_999, 1_000, 5_000, 3.0, False, given_up
    )
    return Answer(result, decision, outputs, "measured")


@fixtures_ok
@given(data=st.data())
def test_every_datatype_round_trips_raw_and_typed(family: Family, data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(sorted(DTYPES)))
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    size = int(np.prod(shape)) * DTYPES[datatype].itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    array: Any = np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    if datatype == "BOOL":
        array = np.frombuffer(raw, np.uint8).reshape(shape) > 99
    codec = _codec(family, TensorSpec("x", datatype, (-1, *shape[1:])))
    got = codec.call(request_for("digits", {"x": array}, {})).tensors["x"]
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(got, array)
    if datatype in FIELDS:
        typed = ModelInferRequest()
        tensor = typed.inputs.add(name="x", datatype=datatype, shape=shape)
        getattr(tensor.contents, FIELDS[datatype]).extend(array.ravel().tolist())
        np.testing.assert_array_equal(codec.call(typed).tensors["x"], array)


def test_raw_contents_are_not_copied(family: Family, image: Any) -> None:
    tensor = _codec(family).call(_request(image)).tensors["image"]
    assert not tensor.flags.owndata
    assert not tensor.flags.writeable


@fixtures_ok
@given(data=st.data())
def test_goals_round_trip(family: Family, image: Any, data: st.DataObject) -> None:
    whole = st.integers(1, 10_000)
    budget_ms = data.draw(st.one_of(whole, st.floats(0.001, 1e6)))
    accuracy = data.draw(st.floats(0, 1))
    energy_mj = data.draw(st.floats(0, 1e6))
    prefer = data.draw(st.sampled_from(list(Prefer)))
    spell: Any = data.draw(st.sampled_from([lambda value: value, str]))
    priority = data.draw(st.one_of(whole, whole.map(lambda n: InferParameter(uint64_param=n))))
    request = _request(
        image,
        latency_budget_ms=spell(budget_ms),
        min_accuracy=spell(accuracy),
        max_energy_mj=spell(energy_mj),
        priority=priority,
        prefer=prefer.value,
        app="camera",
    )
    call = _codec(family).call(request, remaining_s=1.0, app="from the transport")
    assert call.latency_budget_ns == max(1, round(budget_ms * 1_000_000))
    assert (call.min_accuracy_frac, call.max_energy_uj) == (accuracy, energy_mj * 1_000)
    assert (call.prefer, call.app) == (prefer, "camera")
    assert call.priority == (priority if isinstance(priority, int) else priority.uint64_param)


def test_which_budget_counts(family: Family, image: Any) -> None:
    codec = _codec(family)
    assert codec.call(_request(image, latency_budget_ms=5, timeout=7), 9.0).latency_budget_ns == 5_000_000
    assert codec.call(_request(image, timeout=7), 9.0).latency_budget_ns == 7_000
    assert codec.call(_request(image, timeout=0), 9.0).latency_budget_ns == 9_000_000_000
    assert codec.call(_request(image), 0.0).latency_budget_ns == 1
    assert codec.call(_request(image), 1e9).latency_budget_ns is None
    assert codec.call(_request(image), None).latency_budget_ns is None


NAN, INF = float("nan"), float("inf")
BAD_PARAMETERS: list[tuple[str, Any]] = [
    *(("latency_budget_ms", value) for value in (0, -1, NAN, INF, "fast", "", True, 1e9, "1e999")),
    *(("timeout", value) for value in (-1, 1.5, "soon", False)),
    *(("min_accuracy", value) for value in (-0.1, 1.01, 90, NAN, "high", True)),
    *(("max_energy_mj", value) for value in (-1, INF, 1e13, "low", True)),
    *(("priority", value) for value in (-1, 1.5, 2**40, "urgent", True)),
    *(("prefer", value) for value in ("speed", "", 1, True)),
    *(("variant", value) for value in (1, 2.5, True, "x" * 300)),
    *(("app", value) for value in (1, True, "x" * 300)),
    *((name, InferParameter()) for name in ("latency_budget_ms", "min_accuracy", "prefer", "app", "timeout")),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_bad_parameters_are_named(family: Family, image: Any, name: str, value: Any) -> None:
    with pytest.raises(WireError, match=f"parameter '{name}': expected .*, got ") as caught:
        _codec(family).call(_request(image, **{name: value}))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_unknown_parameters_are_ignored(family: Family, image: Any) -> None:
    _codec(family).call(_request(image, sequence_id=7, triton_enable_empty_final_response=True, mine=NAN))


def test_asking_for_a_processor(family: Family, image: Any) -> None:
    codec = _codec(family)
    asked = codec.call(_request(image, processor="gpu:*"))
    assert (asked.processor, asked.strict) == ("gpu:*", False)
    assert codec.call(_request(image, processor="cpu:0", processor_mode="strict")).strict
    with pytest.raises(
        WireError, match="parameter 'processor_mode': expected one of fallback, strict, got 'never'"
    ):
        codec.call(_request(image, processor_mode="never"))


def test_pinning_a_variant(family: Family, image: Any) -> None:
    codec = _codec(family)
    request = _request(image, variant="small")
    assert codec.call(request).variant == "small"
    request.model_version = "small"
    assert codec.call(request).variant == "small"
    request.model_version = "large"
    with pytest.raises(WireError, match="'large' and parameter 'variant' 'small' differ"):
        codec.call(request)
    with pytest.raises(WireError, match="known: large, small") as caught:
        codec.call(_request(image, variant="huge"))
    assert caught.value.code is Code.NOT_FOUND


def _tampered(image: Any, change: Any) -> ModelInferRequest:
    request = _request(image)
    change(request)
    return request


def _typed(request: ModelInferRequest) -> None:
    request.ClearField("raw_input_contents")
    request.inputs[0].contents.fp32_contents.extend([0.0] * 15)


BAD_TENSORS: list[tuple[Any, str]] = [
    (
        lambda r: r.raw_input_contents.append(b""),
        "raw_input_contents: expected one entry per input .1., got 2",
    ),
    (
        lambda r: r.raw_input_contents.__setitem__(0, b"123"),
        "'image': expected 64 bytes for FP32.*, got 3 bytes",
    ),
    (lambda r: r.ClearField("raw_input_contents"), "'image': expected 16 values in fp32_contents.*, got 0"),
    (_typed, "'image': expected 16 values in fp32_contents.*, got 15"),
    (
        lambda r: r.inputs[0].contents.fp32_contents.append(1),
        "expected raw_input_contents or typed contents, got both",
    ),
    (lambda r: setattr(r.inputs[0], "datatype", "BYTES"), "'image': expected datatype FP32, got 'BYTES'"),
    (lambda r: setattr(r.inputs[0], "datatype", ""), "'image': expected datatype FP32, got ''"),
    (
        lambda r: setattr(r.inputs[0], "name", "é" * 999),
        "unknown input 'é+\\.\\.\\.; task 'digits' takes: image",
    ),
    (lambda r: r.inputs[0].shape.pop(), r"'image': expected shape \[-1, 1, 4, 4\] .*, got \[1, 1, 4\]"),
    (lambda r: r.inputs[0].shape.extend([1] * 99), "got 103 dimensions"),
    (lambda r: r.inputs[0].shape.__setitem__(0, 0), r"\(-1: 1 to 64\), got \[0, 1, 4, 4\]"),
    (lambda r: r.inputs[0].shape.__setitem__(0, -1), r"got \[-1, 1, 4, 4\]"),
    (lambda r: r.inputs[0].shape.__setitem__(0, 2**62), "got .4611686018427387904, 1, 4, 4."),
    (lambda r: r.inputs.pop(), "raw_input_contents: expected one entry per input .0., got 1"),
    (lambda r: r.outputs.add(name="scores"), "unknown output 'scores'; task 'digits' returns: logits"),
    (lambda r: [r.outputs.add(name="logits") for _ in "ab"], "expected each output once"),
]


@pytest.mark.parametrize(("change", "message"), BAD_TENSORS)
def test_bad_tensors_are_named(family: Family, image: Any, change: Any, message: str) -> None:
    with pytest.raises(WireError, match=message) as caught:
        _codec(family).call(_tampered(image, change))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_shared_memory_is_refused_by_name(family: Family, image: Any) -> None:
    request = _request(image)
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(WireError, match=r"'image'.*shared memory"):
        _codec(family).call(request)
    request = _request(image)
    request.outputs.add(name="logits").parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(WireError, match=r"'logits'.*shared memory"):
        _codec(family).call(request)


def test_typed_integers_must_fit_and_stand_in_their_field(family: Family) -> None:
    codec = _codec(family, TensorSpec("x", "INT8", (2,)))
    request = ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype="INT8", shape=[2])
    tensor.contents.int_contents.extend([1, 300])
    with pytest.raises(WireError, match="values from -128 to 127, got 1 to 300"):
        codec.call(request)
    tensor.contents.int64_contents.append(1)
    with pytest.raises(WireError, match="expected int_contents for INT8, got int64_contents"):
        codec.call(request)
    half = ModelInferRequest()
    half.inputs.add(name="x", datatype="FP16", shape=[2]).contents.fp32_contents.extend([1, 2])
    with pytest.raises(WireError, match="raw_input_contents"):
        _codec(family, TensorSpec("x", "FP16", (2,))).call(half)


def test_inputs_of_one_request_share_their_batch(family: Family) -> None:
    codec = _codec(family, TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT64", (-1,)))
    arrays: dict[str, Any] = {"b": np.arange(3), "a": np.zeros((3, 2), np.float32)}
    call = codec.call(request_for("digits", arrays, {}))
    assert call.batch == 3
    np.testing.assert_array_equal(call.tensors["b"], [0, 1, 2])
    with pytest.raises(WireError, match="one batch size for all inputs"):
        codec.call(request_for("digits", {**arrays, "b": np.arange(2)}, {}))
    with pytest.raises(WireError, match="input 'b' is missing"):
        codec.call(request_for("digits", {"a": arrays["a"]}, {}))


def test_a_family_that_cannot_be_served_is_refused(family: Family) -> None:
    with pytest.raises(ValueError, match="BYTES"):
        _codec(family, TensorSpec("x", "BYTES", (1,)))


@fixtures_ok
@given(batch=st.integers(1, BATCH_LIMIT), seed=st.integers(0, 99))
def test_answers_round_trip(family: Family, image: Any, batch: int, seed: int) -> None:
    logits = np.random.default_rng(seed).standard_normal((batch, 3)).astype(np.float32)
    request = request_for("digits", {"image": image}, {}, "mine")
    reply = reply_of(_codec(family).response(request, _answer({"logits": logits})))
    np.testing.assert_array_equal(reply.outputs["logits"], logits)
    np.testing.assert_array_equal(reply.labels, logits.argmax(axis=1))
    assert (reply.request_id, reply.decision_id, reply.variant, reply.exit) == ("mine", "r1", "small", 1)
    assert (reply.queue_us, reply.load_us, reply.run_us, reply.energy_source) == (9, 1, 5, "measured")
    assert (reply.given_up, reply.on_time) == (("energy", "deadline"), False)


def test_answers_without_a_decision(family: Family, image: Any) -> None:
    answer = replace(_answer({"logits": np.zeros((1, 3), np.float32)}), decision=None)
    reply = reply_of(_codec(family).response(_request(image), answer))
    assert (reply.exit_rule, reply.reason, reply.predicted_latency_us) == ("", "", 0)


def test_classes_are_ordered_and_ties_keep_the_lower_index() -> None:
    rows = top_classes(np.array([[1.0, 3.0, 3.0]], np.float32), 9, ("a", "b"))
    assert rows == [[b"3.000000:1:b", b"3.000000:2", b"1.000000:0:a"]]
    assert top_classes(np.array([5, 7], np.int8), 1, ()) == [[b"7.000000:1"]]
    assert pack_bytes([b"ab", b""]) == b"\x02\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize("count", [0, -1, 1.5, "many", True])
def test_bad_class_counts_are_refused(family: Family, image: Any, count: Any) -> None:
    request = _request(image)
    request.outputs.add(name="logits").parameters["classification"].CopyFrom(_parameter(count))
    with pytest.raises(WireError, match="classification"):
        _codec(family).call(request)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200))
def test_random_bytes_never_break_it(family: Family, noise: bytes) -> None:
    try:
        request = ModelInferRequest.FromString(noise)
    except Exception:  # protobuf's own refusal; gRPC answers it before we are asked
        return
    with pytest.raises(WireError):
        _codec(family).call(request)


_any_parameter = st.one_of(
    st.builds(lambda v: InferParameter(bool_param=v), st.booleans()),
    st.builds(lambda v: InferParameter(int64_param=v), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda v: InferParameter(uint64_param=v), st.integers(0, 2**64 - 1)),
    st.builds(lambda v: InferParameter(double_param=v), st.floats()),
    st.builds(lambda v: InferParameter(string_param=v), st.text(max_size=20)),
)
_any_request = st.builds(
    ModelInferRequest,
    model_version=st.sampled_from(["", "small", "x"]),
    parameters=st.dictionaries(
        st.sampled_from(
            ["latency_budget_ms", "timeout", "min_accuracy", "max_energy_mj", "priority", "prefer"]
        ),
        _any_parameter,
        max_size=3,
    ),
    inputs=st.lists(
        st.builds(
            ModelInferRequest().inputs.add,
            name=st.sampled_from(["image", "x"]),
            datatype=st.sampled_from(["FP32", "INT8", "BYTES", "nonsense"]),
            shape=st.one_of(
                st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
                st.tuples(st.integers(-1, 3), st.just(1), st.just(4), st.just(4)).map(list),
            ),
        ),
        max_size=2,
    ),
    raw_input_contents=st.lists(st.sampled_from([b"", b"\0" * 64, b"\xff" * 128]), max_size=2),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=_any_request)
def test_strange_requests_are_served_or_refused(family: Family, request: ModelInferRequest) -> None:
    try:
        call = _codec(family).call(request)
    except WireError:
        return
    assert 1 <= len(call.tensors["image"]) <= BATCH_LIMIT
    assert call.latency_budget_ns is None or 0 < call.latency_budget_ns < 2**63


def test_every_cause_has_a_code() -> None:
    assert set(CAUSES) == set(Cause) - {Cause.NONE}
    for outcome in set(Outcome) - {Outcome.DONE}:
        assert failure(Result("r1", outcome)).decision_id == "r1"


def test_messages_are_bounded() -> None:
    assert len(WireError(Code.INTERNAL, "x" * 5_000).message) < 1_100


@fixtures_ok
@given(data=st.data())
def test_records_round_trip(data: st.DataObject) -> None:
    number, text = st.integers(-(2**63), 2**63 - 1), st.text(max_size=5)
    figure = st.floats(allow_nan=False)
    names = st.tuples(text, text)
    goals = st.lists(st.sampled_from(Goal), max_size=2).map(tuple)
    why = st.one_of(st.none(), st.sampled_from(Why))
    decision = st.builds(
        Decision, text, text, text, text, text, figure, figure, figure, number, number, number, figure,
        number, number, figure, goals, text, names, text, why, figure, figure,
    )  # fmt: skip
    result = st.builds(
        Result, text, st.sampled_from(Outcome), st.sampled_from(Cause), text, text, text, number, figure,
        number, number, number, figure, st.booleans(), goals, figure,
    )  # fmt: skip
    maybe = st.one_of(st.none(), figure)
    record = data.draw(
        st.builds(Record, number, text, text, st.one_of(st.none(), decision), result, maybe, number, number)
    )
    message = control.record_to_wire(record)
    again = type(message).FromString(message.SerializeToString())
    assert control.record_from_wire(again) == record
