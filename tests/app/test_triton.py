"""Triton's own client, unchanged, against the real daemon with the real family."""

import queue
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

TASK = "fashion"
Shape = tuple[int, ...]


@pytest.fixture(scope="module")
def connected(daemon: Any) -> Iterator[Any]:
    with triton.InferenceServerClient(daemon.address) as client:
        yield client


def tensor(array: Any, name: str = "image", datatype: str = "FP32") -> Any:
    wanted = triton.InferInput(name, list(array.shape), datatype)
    wanted.set_data_from_numpy(array)
    return wanted


@pytest.fixture(scope="module")
def image(samples: Any) -> Any:
    return samples[0][:1]


def test_live_ready_and_metadata(connected: Any) -> None:
    assert connected.is_server_live()
    assert connected.is_server_ready()
    assert connected.is_model_ready(TASK)
    assert not connected.is_model_ready("nothing")
    assert connected.get_server_metadata().name == "trimtab"
    found = connected.get_model_metadata(TASK)
    assert [(t.name, t.datatype, list(t.shape)) for t in found.inputs] == [("image", "FP32", [-1, 1, 28, 28])]
    assert [t.name for t in found.outputs] == ["logits"]
    assert "resnet" in found.versions
    config = connected.get_model_config(TASK).config
    assert config.name == TASK
    assert list(config.input[0].dims) == [1, 28, 28]


def test_answers_agree_with_the_labels(connected: Any, samples: Any) -> None:
    images, labels = samples
    found = [
        connected.infer(TASK, [tensor(images[i : i + 50])]).as_numpy("logits") for i in range(0, 200, 50)
    ]
    right = np.concatenate(found).argmax(axis=1) == labels[:200]
    assert right.mean() > 0.85


def test_every_variant_answers(connected: Any, image: Any) -> None:
    for version in connected.get_model_metadata(TASK).versions:
        result = connected.infer(TASK, [tensor(image)], model_version=version, request_id="mine")
        answer = result.get_response()
        assert (answer.model_version, answer.id) == (version, "mine")
        assert answer.parameters["variant"].string_param == version
        assert result.as_numpy("logits").shape == (1, 10)


def test_goals_are_kept(connected: Any, image: Any) -> None:
    wanted = {"latency_budget_ms": 500, "min_accuracy": 0.9, "prefer": "energy"}
    answer = connected.infer(TASK, [tensor(image)], parameters=wanted).get_response()
    assert answer.parameters["on_time"].bool_param
    assert answer.parameters["given_up"].string_param == ""
    assert answer.parameters["energy_uj"].double_param > 0


def test_async_infer(connected: Any, image: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(8):
        connected.async_infer(
            TASK, [tensor(image)], callback=lambda result, error: answers.put((result, error))
        )
    for _ in range(8):
        result, error = answers.get(timeout=10)
        assert error is None
        assert result.as_numpy("logits").shape == (1, 10)


def test_stream(connected: Any, image: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    connected.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number in range(8):
        connected.async_stream_infer(TASK, [tensor(image)], request_id=str(number))
    connected.async_stream_infer("nothing", [tensor(image)], request_id="bad")
    seen, wrong = set(), []
    for _ in range(9):
        result, error = answers.get(timeout=10)
        if error is None:
            seen.add(result.get_response().id)
        else:
            wrong.append(str(error))
    connected.stop_stream()
    assert seen == {str(number) for number in range(8)}
    assert len(wrong) == 1
    assert "nothing" in wrong[0]


def test_statistics_count(connected: Any, image: Any) -> None:
    def count() -> int:
        found = connected.get_inference_statistics(TASK, "student").model_stats
        return sum(int(entry.inference_stats.success.count) for entry in found)

    before = count()
    for _ in range(3):
        connected.infer(TASK, [tensor(image)], model_version="student")
    assert count() == before + 3
    index = connected.get_model_repository_index().models
    assert {entry.version for entry in index} >= {"resnet", "student"}


def test_client_timeout(connected: Any, samples: Any) -> None:
    heavy = np.concatenate([samples[0]] * 2)[:64]
    with pytest.raises(InferenceServerException) as caught:
        connected.infer(TASK, [tensor(heavy)], model_version="resnet", client_timeout=0.003)
    assert "DEADLINE_EXCEEDED" in str(caught.value.status())
    assert connected.infer(TASK, [tensor(samples[0][:1])], client_timeout=5).as_numpy("logits") is not None


WRONG: list[tuple[str, Callable[[], list[Any]], list[str]]] = [
    ("shape", lambda: [tensor(np.zeros((1, 1, 27, 28), np.float32))], ["image", "28, 28", "27"]),
    ("rank", lambda: [tensor(np.zeros((28, 28), np.float32))], ["image", "1, 28, 28"]),
    ("datatype", lambda: [tensor(np.zeros((1, 1, 28, 28), np.int64), datatype="INT64")], ["image", "FP32", "INT64"]),
    ("name", lambda: [tensor(np.zeros((1, 1, 28, 28), np.float32), "picture")], ["picture", "image"]),
    ("missing", list, ["image", "missing"]),
    ("batch", lambda: [tensor(np.zeros((65, 1, 28, 28), np.float32))], ["image", "64"]),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_inputs_are_named(connected: Any, make: Callable[[], list[Any]], words: list[str]) -> None:
    with pytest.raises(InferenceServerException) as caught:
        connected.infer(TASK, make())
    assert "INVALID_ARGUMENT" in str(caught.value.status())
    for word in words:
        assert word in caught.value.message(), caught.value.message()
