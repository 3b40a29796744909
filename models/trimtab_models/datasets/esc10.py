"""ESC-10 (Piczak, 2015): environmental sounds of ten classes, 398 clips of 5 s, in five folds by source.

Fold 5 is the test split. Two of the 400 clips, under a licence that forbids some uses, are left out. A clip is
cut from a recording (its source); no recording has clips in two folds.
"""

import io
import re
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab_models.datasets.archives import file_sha256, tar_members, zip_sha256
from trimtab_models.datasets.fetch import File, Form, Origin, Source, locate
from trimtab_models.datasets.samples import Samples, Splits, moments
from trimtab_models.errors import DatasetError, MissingBuildExtra
from trimtab_models.settings import BuildEvent, Progress, silent

NAME: Final = "ESC-10"
LICENCE: Final = "CC BY 3.0; each clip CC0 or CC BY"
RATE_HZ: Final = 16000
LENGTH: Final = 80_000
PREPROCESSING: Final = (
    "5 s of mono audio at 16 kHz in -1..1 (16-bit samples / 32768), followed by zeros when shorter; the log-mel"
    " features are part of the network"
)
SOURCE: Final = "https://github.com/karolpiczak/ESC-10"
LABELS: Final = (
    "dog bark", "rain", "sea waves", "baby cry", "clock tick",
    "sneeze", "helicopter", "chainsaw", "rooster", "fire crackling",
)  # fmt: skip
TEST_FOLD: Final = 5
SCALE: Final = 1 / 32768
LEFT_OUT: Final = ("1-40730-A.ogg", "2-96460-A.ogg")
_COMMIT: Final = "553c8f1743b9dba6b282e1323c3ca8fa76923448"
_PACKED, _ORIGINAL = "esc10_16khz_vorbis.zip", "esc10_44khz_vorbis.zip"
_CLIP: Final = re.compile(r"(?:^|/)0*(\d+)(?: - [^/]+)?/(([1-5])-(\d+)-[A-Z]\.ogg)$")
_SECONDS: Final = LENGTH // RATE_HZ


def pack(archive: Path, folder: Path) -> None:
    """Make a zip of the clips in the repository's tarball, named ``class/fold-source-letter.ogg``."""
    clips = {}
    for path, content in tar_members(archive):
        match = _CLIP.search(path)
        if match and match[2] not in LEFT_OUT:
            clips[f"{int(match[1]):02d}/{match[2]}"] = content
    with zipfile.ZipFile(folder / _ORIGINAL, "w") as packed:
        for name in sorted(clips):
            packed.writestr(name, clips[name])


ORIGIN: Final = Origin(
    "esc10",
    (
        Form(
            (File(_PACKED, "4854eaec18aaf768534a309d29c4f4c30702a2a61afcd42b0fb8493a08d3865f", file_sha256),)
        ),
        Form(
            (
                File(
                    _ORIGINAL, "5eb1be1fa57487f6488c3e2c27b0934cd397b9507528d948a1a6caa10099f2a9", zip_sha256
                ),
            ),
            (
                Source(
                    f"ESC-10-{_COMMIT}.tar.gz",
                    (f"https://codeload.github.com/karolpiczak/ESC-10/tar.gz/{_COMMIT}",),
                    50_000_000,
                    unpack=pack,
                ),
            ),
        ),
    ),
    f"point TRIMTAB_DATA at a folder with {_PACKED} or with a tarball of the repository at commit {_COMMIT}, named"
    f" ESC-10-{_COMMIT}.tar.gz",
)


class Clip(NamedTuple):
    """One clip: class 0-9, fold 1-5, number of the recording it was cut from, audio (time,) at 16 kHz."""

    label: int
    fold: int
    source: int
    audio: NDArray[np.int16]


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return folds 1-4 for training, fold 5 for test; raise ``DatasetError``.

    Validation has about ``validation_samples`` clips of the training folds, alike of all classes, with all
    clips of their sources. Decoding needs soundfile: raise ``MissingBuildExtra`` without it.
    """
    (path,) = locate(ORIGIN, progress=progress).paths
    clips = read(path, progress)
    everything = Samples(
        np.stack([clip.audio for clip in clips]),
        np.array([clip.label for clip in clips], np.uint8),
        np.arange(len(clips)),
        SCALE,
    )
    test = np.array([clip.fold == TEST_FOLD for clip in clips])
    sources = np.array([clip.source for clip in clips])
    held_out = ~test & np.isin(
        sources, _drawn(everything.labels[~test], sources[~test], validation_samples, seed)
    )
    bare = np.setdiff1d(everything.labels, everything.labels[~test & ~held_out])
    if len(bare):
        raise DatasetError(
            f"{NAME}: {validation_samples} samples for validation leave none of {LABELS[bare[0]]!r} for training"
        )
    mean, std = moments(everything.take(np.flatnonzero(~test)))
    train, validation, test_samples = (
        everything.take(np.flatnonzero(rows)) for rows in (~test & ~held_out, held_out, test)
    )
    return Splits(train, validation, test_samples, LABELS, mean, std, "audio")


def read(path: Path, progress: Progress = silent) -> list[Clip]:
    """Return the clips of a zip in order of their names; raise ``DatasetError``, ``MissingBuildExtra``."""
    clips = []
    with zipfile.ZipFile(path) as archive:
        names = sorted(archive.namelist())
        for done, name in enumerate(names, 1):
            if not (match := _CLIP.search(name)):
                raise DatasetError(f"{path}: {name!r} is no name of a clip")
            audio = decode(archive.read(name), f"{path}: {name}")
            clips.append(Clip(int(match[1]) - 1, int(match[3]), int(match[4]), audio))
            progress(BuildEvent("dataset", f"decode {path.name}", done, len(names)))
    return clips


def decode(content: bytes, name: str) -> NDArray[np.int16]:
    """Return 5 s at 16 kHz of a mono Ogg Vorbis file; raise ``DatasetError``, ``MissingBuildExtra``."""
    try:
        import soundfile
    except ImportError as error:
        raise MissingBuildExtra("soundfile") from error
    try:
        audio, rate_hz = soundfile.read(io.BytesIO(content), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise DatasetError(f"{name}: cannot be decoded: {error}") from error
    if audio.ndim != 1:
        raise DatasetError(f"{name}: has {audio.shape[1]} channels, not one")
    long = np.zeros(_SECONDS * rate_hz, np.int16)
    long[: len(audio)] = audio[: len(long)]
    return long if rate_hz == RATE_HZ else resampled(long, LENGTH)


def resampled(audio: NDArray[np.int16], length: int) -> NDArray[np.int16]:
    """Return the audio as ``length`` samples: the spectrum cut off, its top 2 % faded out against ringing."""
    spectrum = np.fft.rfft(audio)[: length // 2 + 1]
    fade = min(len(spectrum), length // 100)
    spectrum[len(spectrum) - fade :] *= np.linspace(1, 0, fade)
    signal = np.fft.irfft(spectrum, length) * (length / len(audio))
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)


def _drawn(labels: NDArray[np.uint8], sources: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Draw sources, as long as the class of one has under its share of ``count`` clips."""
    wanted = {label: count / len(LABELS) for label in range(len(LABELS))}
    drawn = []
    for source in np.random.default_rng(seed).permutation(np.unique(sources)):
        clips = labels[sources == source]
        if wanted[int(clips[0])] > 0:
            drawn.append(int(source))
            for label in clips:
                wanted[int(label)] -= 1
    return drawn
