"""Free Spoken Digit Dataset (Jackson et al.): 3,000 recordings of ten digits by six speakers, 8 kHz.

Takes 0-4 of each speaker and digit are the official test split.
"""

import io
import re
import wave
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab_models.datasets.archives import npz_sha256, tar_members
from trimtab_models.datasets.fetch import File, Form, Origin, Source, locate
from trimtab_models.datasets.planes import join, split
from trimtab_models.datasets.samples import Samples, Splits, hold_out, moments
from trimtab_models.errors import DatasetError
from trimtab_models.settings import Progress, silent

NAME: Final = "Free Spoken Digit Dataset"
LICENCE: Final = "CC BY-SA 4.0"
RATE_HZ: Final = 8000
LENGTH: Final = 8000
PREPROCESSING: Final = (
    "one second of mono audio at 8 kHz in -1..1 (16-bit samples / 32768): a shorter recording with zeros before and"
    " after it alike, of a longer one the second with the most energy; the log-mel features are part of the network"
)
SOURCE: Final = "https://github.com/Jakobovski/free-spoken-digit-dataset"
LABELS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_TAKES: Final = 5
SCALE: Final = 1 / 32768
_COMMIT: Final = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
_FILE: Final = "fsdd_8khz.npz"
_WAV: Final = re.compile(r"/recordings/(\d)_([a-z]+)_(\d+)\.wav$")


def pack(archive: Path, folder: Path) -> None:
    """Make the ``.npz`` of the repository's tarball: recordings in order of their names."""
    found = {}
    for path, content in tar_members(archive):
        if match := _WAV.search(path):
            found[Path(path).name] = (match.groups(), _samples(content, path))
    recordings = [found[name] for name in sorted(found)]
    speakers = sorted({speaker for (_, speaker, _), _ in recordings})
    low, high = split(np.concatenate([signal for _, signal in recordings]))
    np.savez_compressed(
        folder / _FILE,
        lo=low,
        hi=high,
        length=np.array([len(signal) for _, signal in recordings], np.uint16),
        digit=np.array([int(digit) for (digit, _, _), _ in recordings], np.uint8),
        speaker=np.array([speakers.index(speaker) for (_, speaker, _), _ in recordings], np.uint8),
        take=np.array([int(take) for (_, _, take), _ in recordings], np.uint8),
        speakers=np.array(speakers),
    )


ORIGIN: Final = Origin(
    "spoken_digits",
    (
        Form(
            (File(_FILE, "6d8bdc3831e8240f3fec5fed45d306c1fcb1830b939837d2121b58be3d30d3ce", npz_sha256),),
            (
                Source(
                    f"free-spoken-digit-dataset-{_COMMIT}.tar.gz",
                    (f"https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/tar.gz/{_COMMIT}",),
                    20_000_000,
                    unpack=pack,
                ),
            ),
        ),
    ),
    f"point TRIMTAB_DATA at a folder with {_FILE} or with a tarball of the repository at commit {_COMMIT}, named"
    f" free-spoken-digit-dataset-{_COMMIT}.tar.gz",
)


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return the official split, ``validation_samples`` held out of training; raise ``DatasetError``."""
    (path,) = locate(ORIGIN, progress=progress).paths
    with np.load(path, allow_pickle=False) as arrays:
        signals = np.stack(
            [fit(signal, LENGTH) for signal in recordings(arrays["lo"], arrays["hi"], arrays["length"])]
        )
        digit, test = arrays["digit"], arrays["take"] < TEST_TAKES
    train, test_samples = (
        Samples(signals[rows], digit[rows], np.arange(rows.sum()), SCALE) for rows in (~test, test)
    )
    mean, std = moments(train)
    train, validation = hold_out(train, validation_samples, seed)
    return Splits(train, validation, test_samples, LABELS, mean, std, "audio")


def recordings(
    low: NDArray[np.uint8], high: NDArray[np.uint8], length: NDArray[np.uint16]
) -> list[NDArray[np.int16]]:
    """Return the recordings, one after the other in the planes."""
    return np.split(join(low, high), np.cumsum(length.astype(np.int64))[:-1])


def fit(recording: NDArray[np.int16], length: int) -> NDArray[np.int16]:
    """Return ``length`` samples: the recording between zeros, or its stretch with the most energy."""
    excess = len(recording) - length
    if excess <= 0:
        before = -excess // 2
        return np.pad(recording, (before, -excess - before))
    energy = np.concatenate([[0], np.cumsum(np.square(recording.astype(np.int64)))])
    start = int(np.argmax(energy[length:] - energy[: excess + 1]))
    return recording[start : start + length]


def _samples(content: bytes, path: str) -> NDArray[np.int16]:
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE_HZ):
            raise DatasetError(f"{path}: not mono 16-bit audio at {RATE_HZ} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
