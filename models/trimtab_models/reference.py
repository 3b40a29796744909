"""The network every recipe starts from: ours or the user's own, trained by our loop or the user's own."""

from pathlib import Path

import torch
from torch import nn

from trimtab_models import architectures, imported
from trimtab_models.architectures.frontends import Head
from trimtab_models.datasets.samples import Splits
from trimtab_models.imported import Imported
from trimtab_models.recipe import Definition, place
from trimtab_models.training import Listener, cross_entropy, fit


def train_reference(
    known: Definition, file: Path, splits: Splits, partial: Path, on_epoch: Listener
) -> nn.Module:
    """Return the trained reference network; ``file`` is the definition's, for errors about user code."""
    network = _fresh(known, file, splits)
    if known.trainer is not None:
        offered = {"seed": known.seed, "partial": partial, "on_epoch": on_epoch}
        torch.manual_seed(known.seed)
        return imported.train(known.trainer, network, splits, offered, place(file, "trainer", "path"))
    loss = cross_entropy(known.training)
    return fit(
        network, splits.train, known.training, loss, seed=known.seed, partial=partial, on_epoch=on_epoch
    )


def _fresh(known: Definition, file: Path, splits: Splits) -> nn.Module:
    if isinstance(known.architecture, Imported):
        where = place(file, "architecture", "import", "path")
        return imported.make_network(known.architecture, splits, known.seed, where)
    return architectures.build(known.architecture, Head.of(splits), known.seed)
