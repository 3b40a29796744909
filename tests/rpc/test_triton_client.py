"""Triton's own client, unchanged, against a real server; its stubs and ours share this process."""

import queue
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from trimtab.domain.decision import Cause, Outcome


@pytest.fixture
def connected(served: Any) -> Iterator[Any]:
    client = triton.InferenceServerClient(served.address)
    yield client
    client.close()


def _input(array: Any, name: str = "image", datatype: str = "FP32") -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def _status(caught: Any) -> tuple[str, str]:
    return caught.value.status(), caught.value.message()


def test_live_ready_and_metadata(connected: Any) -> None:
    assert connected.is_server_live()
    assert connected.is_server_ready()
    assert connected.is_model_ready("digits")
    assert connected.is_model_ready("digits", "small")
    assert not connected.is_model_ready("digits", "7")
    assert not connected.is_model_ready("nothing")
    server = connected.get_server_metadata()
    assert server.name == "trimtab"
    assert "statistics" in server.extensions
    model = connected.get_model_metadata("digits", as_json=True)
    assert model["versions"] == ["large", "small"]
    assert model["inputs"] == [{"name": "image", "datatype": "FP32", "shape": ["-1", "1", "4", "4"]}]
    assert list(connected.get_model_metadata("digits", "small").versions) == ["small"]


def test_config_describes_the_task_without_its_batch(connected: Any) -> None:
    config = connected.get_model_config("digits").config
    assert (config.name, config.max_batch_size) == ("digits", 64)
    assert list(config.input[0].dims) == [1, 4, 4]
    assert config.input[0].data_type == 11
    assert list(config.output[0].dims) == [3]
    assert not config.model_transaction_policy.decoupled


def test_infer_returns_what_the_variant_computes(connected: Any, served: Any, image: Any) -> None:
    result = connected.infer("digits", [_input(image)], model_version="large", request_id="mine")
    np.testing.assert_array_equal(result.as_numpy("logits"), served.engine.logits("large", image))
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", "digits", "large")
    parameters = response.parameters
    assert parameters["variant"].string_param == "large"
    assert parameters["queue_us"].int64_param == 1
    assert parameters["on_time"].bool_param
    assert parameters["predicted_latency_us"].int64_param == 2_000
    assert parameters["decision_id"].string_param == "r1"


def test_goals_reach_the_engine(connected: Any, served: Any, image: Any) -> None:
    goals = {"latency_budget_ms": 12.5, "min_accuracy": 0.9, "max_energy_mj": 2, "prefer": "energy"}
    connected.infer("digits", [_input(image)], priority=2, timeout=9_000, parameters=goals)
    call = served.engine.calls[0]
    assert (call.latency_budget_ns, call.min_accuracy_frac) == (12_500_000, 0.9)
    assert (call.max_energy_uj, call.priority, call.prefer) == (2_000.0, 2, "energy")
    connected.infer("digits", [_input(image)], timeout=9_000, headers={"trimtab-app": "camera"})
    call = served.engine.calls[1]
    assert (call.latency_budget_ns, call.app) == (9_000_000, "camera")


def test_the_deadline_of_the_call_is_a_budget(connected: Any, served: Any, image: Any) -> None:
    connected.infer("digits", [_input(image)], client_timeout=5.0)
    connected.infer("digits", [_input(image)])
    assert 1e9 < served.engine.calls[0].latency_budget_ns <= 5.1e9  # gRPC rounds timeouts up
    assert served.engine.calls[1].latency_budget_ns is None


def test_batches_and_compression(connected: Any, served: Any) -> None:
    batch = np.random.default_rng(1).standard_normal((64, 1, 4, 4)).astype(np.float32)
    result = connected.infer("digits", [_input(batch)], compression_algorithm="gzip")
    np.testing.assert_array_equal(result.as_numpy("logits"), served.engine.logits("small", batch))


def test_classification_output(connected: Any, served: Any, image: Any) -> None:
    wanted = triton.InferRequestedOutput("logits", class_count=2)
    classes = connected.infer("digits", [_input(image)], outputs=[wanted]).as_numpy("logits")
    logits = served.engine.logits("small", image)[0]
    best = int(np.argmax(logits))
    assert classes.shape == (1, 2)
    assert classes[0, 0].decode() == f"{logits[best]:f}:{best}:{('zero', 'one', 'two')[best]}"


def test_async_infer(connected: Any, served: Any, image: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    connected.async_infer("digits", [_input(image)], lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=5)
    assert error is None
    np.testing.assert_array_equal(result.as_numpy("logits"), served.engine.logits("small", image))


def test_stream_serves_side_by_side_and_survives_errors(connected: Any, served: Any, image: Any) -> None:
    served.engine.delay_s = 0.1
    answers: queue.Queue[Any] = queue.Queue()
    connected.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(8):
        name = "image" if number != 3 else "picture"
        connected.async_stream_infer("digits", [_input(image, name)], request_id=f"q{number}")
    got = [answers.get(timeout=5) for _ in range(8)]
    connected.stop_stream()
    responses = [result.get_response() for result, error in got if error is None]
    assert {response.id for response in responses} == {f"q{n}" for n in range(8)} - {"q3"}
    assert all(response.parameters["triton_final_response"].bool_param for response in responses)
    (error,) = [error for _, error in got if error is not None]
    assert "'q3': INVALID_ARGUMENT: unknown input 'picture'" in error.message()
    assert got[0][1] is error  # it did not wait for the requests before it


def test_a_cancelled_stream_cancels_its_requests(connected: Any, served: Any, image: Any) -> None:
    served.engine.delay_s = 30
    connected.start_stream(lambda result, error: None)
    for _ in range(3):
        connected.async_stream_infer("digits", [_input(image)])
    while served.engine.in_flight < 3:
        time.sleep(0.001)
    connected.stop_stream(cancel_requests=True)
    served.do(served.server._inference_service.idle())
    assert sorted(served.engine.cancelled) == ["r1", "r2", "r3"]


def test_stream_with_empty_final_response(connected: Any, image: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    connected.start_stream(lambda result, error: answers.put((result, error)))
    connected.async_stream_infer("digits", [_input(image)], enable_empty_final_response=True)
    result, error = answers.get(timeout=5)
    connected.stop_stream()
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param
    assert answers.empty()


def test_statistics_and_index(connected: Any, image: Any) -> None:
    connected.infer("digits", [_input(np.concatenate([image, image]))])
    (row,) = connected.get_inference_statistics("digits").model_stats
    assert (row.name, row.version, row.inference_count, row.execution_count) == ("digits", "small", 2, 1)
    assert row.inference_stats.success.ns == 10_500
    assert len(connected.get_inference_statistics().model_stats) == 1
    index = connected.get_model_repository_index().models
    assert [(m.name, m.version, m.state) for m in index] == [
        ("digits", "large", "READY"),
        ("digits", "small", "READY"),
    ]


def test_client_timeout_cancels_the_request(connected: Any, served: Any, image: Any) -> None:
    served.engine.delay_s = 30
    with pytest.raises(InferenceServerException) as caught:
        connected.infer("digits", [_input(image)], client_timeout=0.1)
    assert _status(caught)[0] == "StatusCode.DEADLINE_EXCEEDED"
    served.do(served.server._inference_service.idle())
    assert served.engine.cancelled == ["r1"]


def test_cancelling_an_async_call_cancels_the_request(connected: Any, served: Any, image: Any) -> None:
    served.engine.delay_s = 30
    done: queue.Queue[Any] = queue.Queue()
    pending = connected.async_infer("digits", [_input(image)], lambda result, error: done.put(error))
    while not served.engine.in_flight:
        time.sleep(0.001)
    pending.cancel()
    assert done.get(timeout=5).status() == "StatusCode.CANCELLED"
    served.do(served.server._inference_service.idle())
    assert served.engine.cancelled == ["r1"]


BAD: list[tuple[Any, str]] = [
    (_input(np.zeros((1, 1, 4, 5), np.float32)), "input 'image': expected shape [-1, 1, 4, 4] (-1: 1 to 64)"),
    (_input(np.zeros((65, 1, 4, 4), np.float32)), "got [65, 1, 4, 4]"),
    (_input(np.zeros((1, 1, 4, 4)), datatype="FP64"), "input 'image': expected datatype FP32, got 'FP64'"),
    (_input(np.zeros((1, 1, 4, 4), np.float32), "picture"), "takes: image (FP32 [-1, 1, 4, 4])"),
]


@pytest.mark.parametrize(("tensor", "message"), BAD)
def test_bad_inputs_are_named(connected: Any, tensor: Any, message: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        connected.infer("digits", [tensor])
    status, text = _status(caught)
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert message in text


def test_missing_and_repeated_inputs(connected: Any, image: Any) -> None:
    for inputs, message in ([], "input 'image' is missing"), ([_input(image)] * 2, "got it twice"):
        with pytest.raises(InferenceServerException) as caught:
            connected.infer("digits", inputs)
        assert _status(caught)[0] == "StatusCode.INVALID_ARGUMENT"
        assert message in _status(caught)[1]


def test_unknown_names(connected: Any, image: Any) -> None:
    for model, version, message in (
        ("letters", "", "unknown model 'letters'; known: digits"),
        ("digits", "7", "'7'; known: large, small"),
    ):
        asks: list[Callable[[], Any]] = [
            partial(connected.infer, model, [_input(image)], model_version=version),
            partial(connected.get_model_metadata, model, version),
            partial(connected.get_model_config, model, version),
            partial(connected.get_inference_statistics, model, version),
        ]
        for ask in asks:
            with pytest.raises(InferenceServerException) as caught:
                ask()
            assert _status(caught)[0] == "StatusCode.NOT_FOUND"
            assert message in _status(caught)[1]


def test_unsupported_methods_say_so(connected: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        connected.load_model("digits")
    assert _status(caught)[0] == "StatusCode.UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("outcome", "cause", "status"),
    [
        (Outcome.REJECTED, Cause.OVERLOAD, "RESOURCE_EXHAUSTED"),
        (Outcome.REJECTED, Cause.GOALS, "FAILED_PRECONDITION"),
        (Outcome.REJECTED, Cause.DRAINING, "UNAVAILABLE"),
        (Outcome.EXPIRED, Cause.DEADLINE, "DEADLINE_EXCEEDED"),
        (Outcome.CANCELLED, Cause.CALLER, "CANCELLED"),
        (Outcome.FAILED, Cause.VARIANT, "INTERNAL"),
        (Outcome.FAILED, Cause.INPUT, "INVALID_ARGUMENT"),
    ],
)
def test_refusals_have_a_status(
    connected: Any, served: Any, image: Any, outcome: Outcome, cause: Cause, status: str
) -> None:
    served.engine.refusal = (outcome, cause, "because of this")
    with pytest.raises(InferenceServerException) as caught:
        connected.infer("digits", [_input(image)])
    assert _status(caught) == (f"StatusCode.{status}", "because of this")


def test_a_bug_is_internal_and_logged(
    connected: Any, served: Any, image: Any, caplog: pytest.LogCaptureFixture
) -> None:
    served.engine.broken = True
    with pytest.raises(InferenceServerException) as caught:
        connected.infer("digits", [_input(image)])
    assert _status(caught) == ("StatusCode.INTERNAL", "unexpected ZeroDivisionError; see the log")
    assert "a bug" in caplog.text
