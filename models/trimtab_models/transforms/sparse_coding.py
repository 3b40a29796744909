"""Dense layers as a dictionary times sparse codes (Bhattacharya and Lane, 'SparseSep', SenSys 2016)."""

# mypy: allow-untyped-decorators
from typing import Final

import torch
from torch import Tensor, nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.sparsity import keep_zeros
from trimtab_models.transforms.configs import SparseCoding
from trimtab_models.transforms.surgery import cost_facts, sites, swap

_TWIN_COSINE: Final = 0.99
_STIR_EVERY: Final = 4
_STIR_FRAC: Final = 0.6
"""Every so many iterations, in this first part of them, the least used atom is drawn again: fewer local optima."""


@register(SparseCoding)
def sparse_coding(network: nn.Module, config: SparseCoding, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with its dense layers as two: codes (sparse, first) and dictionary.

    A layer whose dictionary and nonzero codes are not fewer than its weights stays. The report has the share
    of each layer's energy that is lost.
    """
    shape = context.splits.shape
    facts = cost_facts(network, shape, "_before")
    lost: dict[str, float] = {}
    codes = []
    for site in sites(network, shape):
        if isinstance(site.layer, nn.Linear) and _saves(site.layer, config):
            pair, lost[f"{site.name}.lost_frac"] = separated(site.layer, config, context.seed)
            swap(network, site, pair)
            codes.append(pair[0].weight)
    context.tune(network, config.training, on_step=keep_zeros(codes))
    facts |= {"layers_factored": len(codes), **cost_facts(network, shape), **lost}
    return network, Report("sparse_coding", facts)


def atoms(outputs: int, config: SparseCoding) -> int:
    """Return the size of the dictionary for vectors of ``outputs`` numbers: never overcomplete."""
    return min(outputs, max(round(outputs * config.atoms_frac), config.atoms_floor))


def _saves(dense: nn.Linear, config: SparseCoding) -> bool:
    outputs, inputs = dense.out_features, dense.in_features
    size = atoms(outputs, config)
    return bool(outputs * size + inputs * min(config.nonzeros, size) < outputs * inputs)


@torch.no_grad()
def separated(dense: nn.Linear, config: SparseCoding, seed: int) -> tuple[nn.Sequential, float]:
    """Return the two layers and the share of squared weights they miss."""
    weight = dense.weight.double()
    size = atoms(dense.out_features, config)
    dictionary, codes = ksvd(weight, size, min(config.nonzeros, size), config.iterations, seed)
    first = nn.Linear(dense.in_features, size, bias=False)
    last = nn.Linear(size, dense.out_features, bias=dense.bias is not None)
    first.weight.copy_(codes)
    last.weight.copy_(dictionary)
    if dense.bias is not None:
        last.bias.copy_(dense.bias)
    missed = (weight - dictionary @ codes).square().sum() / weight.square().sum()
    return nn.Sequential(first, last), round(float(missed), 6)


def ksvd(matrix: Tensor, size: int, nonzeros: int, iterations: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return a dictionary (m, size) of unit atoms and codes (size, n) with ``nonzeros`` at most per column.

    Approximate K-SVD (Aharon, Elad and Bruckstein, 2006; Rubinstein, Zibulevsky and Elad, 2008), started from
    columns of ``matrix`` drawn by ``seed``. Returns the best of all iterations: pursuit may lose what it had.
    """
    chance = torch.Generator().manual_seed(seed)
    dictionary = _first_atoms(matrix, size, chance)
    best, least = (dictionary, torch.zeros(size, matrix.shape[1], dtype=matrix.dtype)), float("inf")
    for number in range(iterations):
        codes = pursue(matrix, dictionary, nonzeros)
        dictionary, codes = _improve(matrix, dictionary, codes)
        missed = float((matrix - dictionary @ codes).norm())
        if missed < least:
            best, least = (dictionary, codes), missed
        stirred = number % _STIR_EVERY == _STIR_EVERY - 1 and number < _STIR_FRAC * iterations
        dictionary = _refreshed(matrix, dictionary, codes, least=stirred)
    return best


def _first_atoms(matrix: Tensor, size: int, chance: torch.Generator) -> Tensor:
    """Draw columns as unit atoms, each by the energy the atoms before it leave (as k-means++ draws centres)."""
    left = matrix.square().sum(dim=0)
    drawn: list[Tensor] = []
    for _ in range(size):
        if float(left.max()) > 1e-12 * float(matrix.square().sum()):
            atom = matrix[:, torch.multinomial(left, 1, generator=chance)[0]]
        else:
            atom = torch.randn(matrix.shape[0], generator=chance, dtype=matrix.dtype)
        drawn.append(atom / atom.norm())
        aside = matrix - torch.outer(drawn[-1], drawn[-1] @ matrix)
        left = torch.minimum(left, aside.square().sum(dim=0))
    return torch.stack(drawn, dim=1)


def pursue(matrix: Tensor, dictionary: Tensor, nonzeros: int) -> Tensor:
    """Return codes (atoms, n) of the columns by orthogonal matching pursuit (Pati et al., 1993).

    All columns take their next atom at once; an atom is taken once.
    """
    count = matrix.shape[1]
    columns = torch.arange(count)
    residual, taken = matrix, torch.zeros(count, 0, dtype=torch.long)
    codes = torch.zeros(dictionary.shape[1], count, dtype=matrix.dtype)
    for _ in range(nonzeros):
        match = (dictionary.T @ residual).abs()
        match[taken.T, columns] = -1.0
        taken = torch.cat([taken, match.argmax(dim=0)[:, None]], dim=1)
        chosen = dictionary[:, taken].permute(1, 0, 2)  # (n, m, atoms taken)
        weights = torch.linalg.pinv(chosen) @ matrix.T[:, :, None]
        residual = matrix - (chosen @ weights)[:, :, 0].T
        codes = torch.zeros_like(codes)
        codes[taken.T, columns] = weights[:, :, 0].T
    return codes


def _improve(matrix: Tensor, dictionary: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Fit each atom, and its weights, to what the others leave."""
    dictionary, codes = dictionary.clone(), codes.clone()
    residual = matrix - dictionary @ codes
    for atom in range(dictionary.shape[1]):
        users = codes[atom].nonzero()[:, 0]
        wanted = residual[:, users] + torch.outer(dictionary[:, atom], codes[atom, users])
        direction = wanted @ codes[atom, users]
        if len(users) and direction.norm() > 0:
            dictionary[:, atom] = direction / direction.norm()
            codes[atom, users] = dictionary[:, atom] @ wanted
            residual[:, users] = wanted - torch.outer(dictionary[:, atom], codes[atom, users])
    return dictionary, codes


def _refreshed(matrix: Tensor, dictionary: Tensor, codes: Tensor, *, least: bool) -> Tensor:
    """Replace atoms unused, all but equal to another, or ``least`` used by the columns represented worst."""
    twin = (dictionary.T @ dictionary).abs().triu(diagonal=1).amax(dim=0) > _TWIN_COSINE
    use = codes.square().sum(dim=1)
    useless = (twin | (use <= (use.min() if least else 0))).nonzero()[:, 0]
    error = matrix - dictionary @ codes
    worst = error.norm(dim=0).argsort(descending=True)[: len(useless)]
    fresh = dictionary.clone()
    for atom, column in zip(useless, worst, strict=False):
        if error[:, column].norm() > 0:
            fresh[:, atom] = error[:, column] / error[:, column].norm()
    return fresh
