"""A training loop of one's own: Adam instead of trimtab's, and whatever else you like."""

import torch
from torch import nn
from torch.nn import functional

from trimtab_models.datasets.samples import Splits


def fit(network: nn.Module, splits: Splits, *, epochs: int = 5, seed: int = 0) -> None:
    """Train ``network`` in place."""
    torch.manual_seed(seed)
    inputs = torch.from_numpy(splits.train.tensors())
    labels = torch.from_numpy(splits.train.labels).long()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
