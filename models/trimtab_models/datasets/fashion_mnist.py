"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; MIT): 60,000 + 10,000 grey 28x28 images of clothes."""

import gzip
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from trimtab_models.datasets.samples import Samples, Splits, hold_out
from trimtab_models.errors import DatasetError
from trimtab_models.settings import BuildEvent, Progress, silent

NAME: Final = "Fashion-MNIST"
LICENCE: Final = "MIT"
SOURCE: Final = "https://github.com/zalandoresearch/fashion-mnist"
ORIGIN: Final = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
SYSTEM_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
LABELS: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SHA256: Final[Mapping[str, str]] = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}

_CHUNK_BYTES = 1 << 18
_IDX_IMAGES_HEADER, _IDX_LABELS_HEADER = 16, 8


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return the splits, fetching the files when no folder holds them; raise ``DatasetError``."""
    folder = locate(progress=progress)
    train, test = _read(folder, "train"), _read(folder, "t10k")
    pixels = train.images.astype(np.float64) / 255
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    train, validation = hold_out(train, validation_samples, seed)
    return Splits(train, validation, test, LABELS, mean, std)


def locate(*, environment: Mapping[str, str] = os.environ, progress: Progress = silent) -> Path:
    """Return a folder with all four files: ``TRIMTAB_DATA``, the Debian package, the cache, else a download.

    Every file's SHA-256 is checked; raise ``DatasetError`` if one differs or cannot be fetched.
    """
    for folder in _folders(environment):
        if all((folder / name).is_file() for name in SHA256):
            for name in SHA256:
                _check(folder / name)
            return folder
    cache = _cache(environment)
    cache.mkdir(parents=True, exist_ok=True)
    for name in SHA256:
        if not (cache / name).is_file():
            _download(name, cache, progress)
        _check(cache / name)
    return cache


def _folders(environment: Mapping[str, str]) -> Iterator[Path]:
    if environment.get("TRIMTAB_DATA"):
        yield Path(environment["TRIMTAB_DATA"])
    yield SYSTEM_FOLDER
    yield _cache(environment)


def _cache(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "trimtab" / "data" / "fashion-mnist"


def _check(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != SHA256[path.name]:
        raise DatasetError(
            f"{path} is damaged (sha256 {digest[:12]}..., expected {SHA256[path.name][:12]}...)"
        )


def _download(name: str, cache: Path, progress: Progress, origin: str = ORIGIN) -> None:
    """Fetch one file, continuing a partial one; raise ``DatasetError``."""
    partial = cache / f"{name}.part"
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(f"{origin}/{name}", headers={"Range": f"bytes={have}-"})  # noqa: S310  http
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  a constant http origin
            resumed = answer.status == 206
            total = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
            with partial.open("ab" if resumed else "wb") as file:
                while chunk := answer.read(_CHUNK_BYTES):
                    file.write(chunk)
                    progress(BuildEvent("dataset", f"download {name}", file.tell(), total))
    except (urllib.error.URLError, OSError) as error:
        raise DatasetError(
            f"cannot download {origin}/{name} ({error}); run it again to continue, or 'apt-get install "
            "dataset-fashion-mnist', or point TRIMTAB_DATA at a folder with the four .gz files"
        ) from error
    partial.rename(cache / name)


def _read(folder: Path, split: str) -> Samples:
    images = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    image = np.frombuffer(images, np.uint8, offset=_IDX_IMAGES_HEADER).reshape(-1, 1, 28, 28)
    label = np.frombuffer(labels, np.uint8, offset=_IDX_LABELS_HEADER)
    return Samples(image, label, np.arange(len(label)))
