"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; MIT): 60,000 + 10,000 grey 28x28 images of clothes."""

from functools import partial
from pathlib import Path
from typing import Final

from trimtab_models.datasets.archives import deb_members, extract, gzip_sha256
from trimtab_models.datasets.fetch import File, Form, Origin, Source, locate
from trimtab_models.datasets.idx import read_images
from trimtab_models.datasets.samples import Splits, hold_out, moments
from trimtab_models.settings import Progress, silent

NAME: Final = "Fashion-MNIST"
LICENCE: Final = "MIT"
PREPROCESSING: Final = "grey pixels / 255, as float32 in 0..1; mean and deviation are part of the network"
SOURCE: Final = "https://github.com/zalandoresearch/fashion-mnist"
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
_SITE: Final = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_PACKAGE: Final = "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb"
_FOLDER: Final = "usr/share/datasets/fashion-mnist"
_FILES: Final = (
    File("train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888", gzip_sha256),
    File("train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9", gzip_sha256),
    File("t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b", gzip_sha256),
    File("t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", gzip_sha256),
)  # fmt: skip
_DEBIAN: Final = Source(
    _PACKAGE,
    (f"https://deb.debian.org/debian/pool/main/d/dataset-fashion-mnist/{_PACKAGE}",),
    30_900_652,
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    partial(extract, names={f"{_FOLDER}/{file.name}": file.name for file in _FILES}, members=deb_members),
)
_ORIGINALS: Final = tuple(
    Source(file.name, (f"{_SITE}/{file.name}",), size_bytes)
    for file, size_bytes in zip(_FILES, (26_421_880, 29_515, 4_422_102, 5_148), strict=True)
)
ORIGIN: Final = Origin(
    "fashion-mnist",
    (Form(_FILES, (_DEBIAN,)), Form(_FILES, _ORIGINALS)),
    "'apt-get install dataset-fashion-mnist', or point TRIMTAB_DATA at a folder with its four .gz files",
    (Path("/usr/share/datasets/fashion-mnist"),),
)


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return the official splits, ``validation_samples`` held out of training; raise ``DatasetError``."""
    train_images, train_labels, test_images, test_labels = locate(ORIGIN, progress=progress).paths
    train, test = read_images(train_images, train_labels), read_images(test_images, test_labels)
    mean, std = moments(train)
    train, validation = hold_out(train, validation_samples, seed)
    return Splits(train, validation, test, LABELS, mean, std)
