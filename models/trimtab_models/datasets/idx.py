"""The idx format of MNIST and its kin: big-endian header, then unsigned bytes."""

import gzip
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab_models.datasets.samples import Samples
from trimtab_models.errors import DatasetError

_UNSIGNED_BYTES: Final = 0x08


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in an idx file of bytes, gzipped or not; raise ``DatasetError``."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise DatasetError(f"{path}: no idx file of unsigned bytes")
    header = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4]) for at in range(4, header, 4))
    if len(content) - header != np.prod(shape):
        raise DatasetError(f"{path}: has {len(content) - header} bytes of data; its header says {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_images(images: Path, labels: Path) -> Samples:
    """Return grey images (n, 1, height, width) and their labels."""
    image, label = read_idx(images), read_idx(labels)
    if image.ndim != 3 or label.shape != image.shape[:1]:
        raise DatasetError(
            f"{images}, {labels}: shapes {image.shape} and {label.shape} do not belong together"
        )
    return Samples(image[:, None], label, np.arange(len(label)))
