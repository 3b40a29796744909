"""The whole sets, where they are on this machine: decoded content, official splits, nobody in two of them."""

import hashlib
import zipfile
from types import ModuleType

import numpy as np
import pytest

from trimtab_models.datasets import DATASETS, cifar10, esc10, phone_watch, spoken_digits
from trimtab_models.datasets.fetch import find, locate
from trimtab_models.datasets.samples import Splits


def _load(dataset: ModuleType, validation_samples: int, seed: int = 1) -> Splits:
    if find(dataset.ORIGIN) is None:
        pytest.skip(f"{dataset.NAME} is not on this machine")
    splits: Splits = dataset.load(validation_samples, seed)
    return splits


@pytest.mark.parametrize(
    ("name", "train", "test", "shape", "mean"),
    [
        ("mnist", 60_000, 10_000, (1, 28, 28), (0.1307,)),
        ("fashion_mnist", 60_000, 10_000, (1, 28, 28), (0.286,)),
    ],
)
def test_grey_images(
    name: str, train: int, test: int, shape: tuple[int, ...], mean: tuple[float, ...]
) -> None:
    splits = _load(DATASETS[name], 500)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (train - 500, 500, test)
    assert (splits.shape, splits.mean, splits.input_name) == (shape, mean, "image")


def test_cifar10_is_the_canonical_one() -> None:
    pytest.importorskip("PIL")
    splits = _load(cifar10, 0)
    assert splits.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert splits.mean == (0.4914, 0.4822, 0.4465)
    for samples, digest in (
        (splits.train, "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a"),
        (splits.test, "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04"),
    ):
        assert hashlib.sha256(samples.inputs.transpose(0, 2, 3, 1).tobytes()).hexdigest() == digest


def test_spoken_digits_decode_to_the_published_samples() -> None:
    splits = _load(spoken_digits, 200)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (2500, 200, 300)
    assert np.bincount(splits.test.labels).tolist() == [30] * 10
    assert (splits.shape, splits.input_name) == ((8000,), "audio")
    assert splits.test.inputs.dtype == np.int16
    with np.load(locate(spoken_digits.ORIGIN).paths[0]) as packed:
        signals = spoken_digits.recordings(packed["lo"], packed["hi"], packed["length"])
    samples = np.concatenate(signals).tobytes()
    assert (
        hashlib.sha256(samples).hexdigest()
        == "6f643a7422de89763625dfc9aa79427e69f7a690223a5bc5752a2f56db5af465"
    )


def test_no_sound_source_is_in_two_splits() -> None:
    pytest.importorskip("soundfile")
    splits = _load(esc10, 40)
    with zipfile.ZipFile(locate(esc10.ORIGIN).paths[0]) as packed:
        names = [name.partition("/")[2].split("-") for name in sorted(packed.namelist())]
    sources = [{names[i][1] for i in part.index} for part in (splits.train, splits.validation, splits.test)]
    assert sum(len(s) for s in sources) == len(set.union(*sources)) == 302
    assert len(splits.train) + len(splits.validation) == 318
    assert {names[i][0] for i in splits.test.index} == {"5"}
    assert np.bincount(splits.test.labels).tolist() == [8] * 10
    assert np.bincount(splits.validation.labels).min() >= 4


def inner(motion: np.ndarray) -> np.ndarray:
    """Return the windows that hold nothing but the recording: the half window before it is five hops."""
    return phone_watch.windows(motion)


def test_no_person_is_in_two_splits() -> None:
    splits = _load(phone_watch, 400)
    recordings = phone_watch.read(locate(phone_watch.ORIGIN).paths[0])
    assert sum(len(recording.label) for recording in recordings) == 521_766
    assert len({recording.subject for recording in recordings}) == 23
    assert len(splits.validation) >= 400
    assert len(splits.train) + len(splits.validation) == 12_222
    assert np.bincount(splits.test.labels).tolist() == [546, 429, 2041, 863, 440]
    known = {splits.test.inputs[row].tobytes() for row in range(len(splits.test))}
    tested = [r for r in recordings if r.subject >= phone_watch.FIRST_TEST_SUBJECT]
    assert known >= {window.tobytes() for r in tested for window in inner(r.motion)}
    trained = {window.tobytes() for window in splits.train.inputs}
    held_out = {window.tobytes() for window in splits.validation.inputs}
    people = [
        {r.subject for r in recordings if any(w.tobytes() in part for w in inner(r.motion))}
        for part in (trained, held_out)
    ]
    assert not people[0] & people[1]
    assert people[0] | people[1] == set(range(1, phone_watch.FIRST_TEST_SUBJECT))
