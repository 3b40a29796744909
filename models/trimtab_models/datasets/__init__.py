"""Datasets by name. Each module says how it is got and loads its splits; decoders are imported on use."""

from typing import Final

from trimtab_models.datasets import cifar10, esc10, fashion_mnist, mnist, phone_watch, spoken_digits

DATASETS: Final = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "spoken_digits": spoken_digits,
    "esc10": esc10,
    "phone_watch": phone_watch,
}
