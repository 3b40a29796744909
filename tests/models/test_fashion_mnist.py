"""Fashion-MNIST is looked for where Debian puts it, and its error says what else works."""

from pathlib import Path

import pytest

from trimtab_models.datasets import fashion_mnist
from trimtab_models.datasets.fetch import locate
from trimtab_models.errors import DatasetError


def test_a_damaged_file_in_the_given_folder_is_refused(tmp_path: Path) -> None:
    for file in fashion_mnist.ORIGIN.forms[0].files:
        (tmp_path / file.name).write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        locate(fashion_mnist.ORIGIN, environment={"TRIMTAB_DATA": str(tmp_path)})


def test_debian_has_a_package() -> None:
    assert fashion_mnist.ORIGIN.system_folders == (Path("/usr/share/datasets/fashion-mnist"),)
    assert "apt-get install dataset-fashion-mnist" in fashion_mnist.ORIGIN.hint
