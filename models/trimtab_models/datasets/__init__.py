"""Datasets by name."""

from typing import Final

from trimtab_models.datasets import fashion_mnist

DATASETS: Final = {"fashion_mnist": fashion_mnist}
