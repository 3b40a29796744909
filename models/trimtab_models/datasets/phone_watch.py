"""Phone and watch activity (Matey-Sanz, Casteleyn and Granell, Data in Brief 109809, 2023): 6-axis motion.

23 people stand up, walk, turn and sit down with a phone in the pocket and a watch on the wrist, at about
100 Hz. People 18-23 are the test split.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab_models.datasets.archives import npz_sha256, tar_members
from trimtab_models.datasets.fetch import File, Form, Origin, Source, locate
from trimtab_models.datasets.planes import join, split
from trimtab_models.datasets.samples import Samples, Splits, moments
from trimtab_models.errors import DatasetError
from trimtab_models.settings import Progress, silent

NAME: Final = "smartphone and smartwatch activity (sp-sw-har)"
LICENCE: Final = "CC BY 4.0"
LENGTH: Final = 320
HOP: Final = 32
CENTRE: Final = 16
"""The label of a window is what most of its middle ``CENTRE`` samples say: what was done 1.6 s ago."""
PREPROCESSING: Final = (
    "320 samples at 100 Hz (3.2 s) of acceleration x, y, z in m/s2 with gravity and rotation x, y, z in rad/s, as"
    " float32; the answer is the activity in the middle; mean and deviation are part of the network"
)
SOURCE: Final = "https://github.com/GeoTecINIT/sp-sw-har-dataset"
LABELS: Final = ("seated", "standing up", "walking", "turning", "sitting down")
FIRST_TEST_SUBJECT: Final = 18
SCALE: Final = (1 / 512, 1 / 512, 1 / 512, 1 / 1024, 1 / 1024, 1 / 1024)

_COMMIT: Final = "1408d85a512a53861de7bc4729dee283fff2ea9d"
_FILE: Final = "har_phone_watch.npz"
_CSV: Final = re.compile(r"/DATA/s\d+/s(\d+)_(\d+)_(sp|sw)\.csv$")
_HEADER: Final = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"
_CLASSES: Final = ("SEATED", "STANDING_UP", "WALKING", "TURNING", "SITTING_DOWN")


class Recording(NamedTuple):
    """One walk of one person as one of the two devices saw it: motion (6, n) int16, label (n,)."""

    subject: int
    motion: NDArray[np.int16]
    label: NDArray[np.uint8]


def windows(motion: NDArray[np.int16], length: int = LENGTH, hop: int = HOP) -> NDArray[np.int16]:
    """Return the windows (n, channels, length) of a signal (channels, time), one every ``hop`` samples."""
    if motion.shape[-1] < length:
        return np.empty((0, motion.shape[0], length), motion.dtype)
    every = np.lib.stride_tricks.sliding_window_view(motion, length, axis=-1)
    return np.ascontiguousarray(every[:, ::hop].swapaxes(0, 1))


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return windows split by person; raise ``DatasetError``.

    Validation has all windows of as many people, drawn by ``seed``, as give ``validation_samples``.
    """
    (path,) = locate(ORIGIN, progress=progress).paths
    inputs, labels, subjects = _windowed(read(path))
    test = subjects >= FIRST_TEST_SUBJECT
    held_out = np.isin(subjects, _people(subjects[~test], validation_samples, seed))
    official = np.where(test, np.cumsum(test), np.cumsum(~test)) - 1
    everything = Samples(inputs, labels, official, SCALE)
    mean, std = moments(everything.take(np.flatnonzero(~test)))
    train, validation, test_samples = (
        everything.take(np.flatnonzero(rows)) for rows in (~test & ~held_out, held_out, test)
    )
    return Splits(train, validation, test_samples, LABELS, mean, std, "window")


def read(path: Path) -> list[Recording]:
    """Return the recordings in the ``.npz``."""
    with np.load(path, allow_pickle=False) as arrays:
        low, high, label, length = (arrays[name] for name in ("lo", "hi", "label", "length"))
        ends = np.cumsum(length)
        return [
            Recording(int(subject), join(low[:, end - n : end], high[:, end - n : end]), label[end - n : end])
            for subject, n, end in zip(arrays["subject"], length, ends, strict=True)
        ]


def _windowed(
    recordings: list[Recording],
) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.int64]]:
    """Return windows, their labels and their people; none reaches over the end of a recording.

    Windows with several activities are kept, as an application meets them. So that every moment is in the middle
    of one, a recording is continued on both sides with its first and its last sample.
    """
    inputs, labels, subjects = [], [], []
    middle = slice((LENGTH - CENTRE) // 2, (LENGTH + CENTRE) // 2)
    for recording in recordings:
        inside = windows(_continued(recording.label[None].astype(np.int16)))[:, 0, middle]
        counts = (inside[:, :, None] == np.arange(len(LABELS))).sum(axis=1)
        inputs.append(windows(_continued(recording.motion)))
        labels.append(counts.argmax(axis=1).astype(np.uint8))
        subjects.append(np.full(len(counts), recording.subject, np.int64))
    return np.concatenate(inputs), np.concatenate(labels), np.concatenate(subjects)


def _continued(signal: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return a signal (channels, time) with its first and last values held for half a window."""
    return np.pad(signal, ((0, 0), (LENGTH // 2, LENGTH // 2)), mode="edge")


def _people(subjects: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Draw people until they have ``count`` windows; raise ``DatasetError`` if nobody would be left."""
    drawn: list[int] = []
    people = np.random.default_rng(seed).permutation(np.unique(subjects))
    while np.isin(subjects, drawn).sum() < count:
        drawn.append(int(people[len(drawn)]))
        if len(drawn) == len(people):
            raise DatasetError(f"{NAME}: {count} windows for validation leave nobody for training")
    return drawn


def pack(archive: Path, folder: Path) -> None:
    """Make the ``.npz`` of the repository's tarball: phone, then watch, of each walk of each person."""
    found = {}
    for path, content in tar_members(archive):
        if match := _CSV.search(path):
            key = (int(match[1]), int(match[2]), int(match[3] == "sw"))
            found[key] = _parsed(content, path)
    keys = sorted(found)
    planes = [split(found[key][0]) for key in keys]
    np.savez_compressed(
        folder / _FILE,
        lo=np.concatenate([low for low, _ in planes], axis=1),
        hi=np.concatenate([high for _, high in planes], axis=1),
        label=np.concatenate([found[key][1] for key in keys]),
        dt_ms=np.concatenate([found[key][2] for key in keys]),
        length=np.array([len(found[key][1]) for key in keys], np.int32),
        subject=np.array([subject for subject, _, _ in keys], np.uint8),
        execution=np.array([execution for _, execution, _ in keys], np.uint8),
        device=np.array([device for _, _, device in keys], np.uint8),
        labels=np.array(_CLASSES),
        devices=np.array(["phone", "watch"]),
        scale=np.array([1 / factor for factor in SCALE], np.float32),
    )


def _parsed(content: bytes, path: str) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.uint16]]:
    """Return motion (6, n), label (n,) and milliseconds since the sample before (n,) of a recording's CSV."""
    header, *lines = content.decode("ascii").split()
    if header != _HEADER:
        raise DatasetError(f"{path}: its columns are {header}, not {_HEADER}")
    columns = list(zip(*(line.split(",") for line in lines), strict=True))
    motion = np.array(columns[:6], np.float64) / np.array(SCALE)[:, None]
    time_ms = np.array(columns[6], np.int64)
    label = np.array([_CLASSES.index(name) for name in columns[7]], np.uint8)
    return np.rint(motion).astype(np.int16), label, np.diff(time_ms, prepend=time_ms[:1]).astype(np.uint16)


ORIGIN: Final = Origin(
    "phone_watch",
    (
        Form(
            (File(_FILE, "8e24cb34a2fdb7e4724455aab9134d9558922c201e663016259f01af9db90d68", npz_sha256),),
            (
                Source(
                    f"sp-sw-har-dataset-{_COMMIT}.tar.gz",
                    (f"https://codeload.github.com/GeoTecINIT/sp-sw-har-dataset/tar.gz/{_COMMIT}",),
                    40_000_000,
                    unpack=pack,
                ),
            ),
        ),
    ),
    f"point TRIMTAB_DATA at a folder with {_FILE} or with a tarball of the repository at commit {_COMMIT}, named"
    f" sp-sw-har-dataset-{_COMMIT}.tar.gz",
)
