"""Choose ranks: for each layer by a rule, or for all layers together under a budget."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab_models.errors import FoundryError
from trimtab_models.transforms.configs import LowRank
from trimtab_models.transforms.factors import Ranks, channels, cost, unfoldings, whole_cost
from trimtab_models.transforms.surgery import Site
from trimtab_models.transforms.vbmf import evbmf_rank

Floats = NDArray[np.float64]


def choose(found: Sequence[Site], config: LowRank, total: tuple[int, int]) -> list[Ranks | None]:
    """Return the ranks of each layer, nothing for one that stays; ``total`` is (MACs, weights) of the network.

    Raise ``FoundryError`` when a budget cannot be met.
    """
    for unit, frac in enumerate((config.macs_frac, config.parameters_frac)):
        if frac is not None:
            return _within(found, config, unit, frac, total[unit])
    rule = _rule(config)
    chosen = [
        tuple(
            rounded(rule(matrix, side), side, _most(matrix), config)
            for matrix, side in zip(_matrices(site), channels(site), strict=True)
        )
        for site in found
    ]
    return [ranks if _cheaper(site, ranks) else None for site, ranks in zip(found, chosen, strict=True)]


def rounded(rank: int, side: int, most: int, config: LowRank) -> int:
    """Return ``rank`` up to a multiple of ``round_to``, not under the floor, at most ``most``.

    A matrix of ``side`` channels may have fewer singular values than that (``most``).
    """
    up = max(-(-rank // config.round_to) * config.round_to, config.rank_floor)
    return side if up >= side else min(up, most)


def energy_rank(squared: Floats, energy_frac: float) -> int:
    """Return the smallest rank that keeps this share of the squared singular values, largest first."""
    kept = np.cumsum(squared) / squared.sum()
    return min(int(np.searchsorted(kept, energy_frac - 1e-9)) + 1, len(squared))


def _rule(config: LowRank) -> Callable[[Floats, int], int]:
    if config.rank_frac is not None:
        rank_frac = config.rank_frac
        return lambda _, side: round(side * rank_frac)
    if config.energy_frac is not None:
        energy_frac = config.energy_frac
        return lambda matrix, _: energy_rank(_squared(matrix), energy_frac)
    return lambda matrix, _: evbmf_rank(matrix)


def _matrices(site: Site) -> tuple[Floats, ...]:
    return tuple(matrix.double().cpu().numpy() for matrix in unfoldings(site.layer))


def _most(matrix: Floats) -> int:
    return int(min(matrix.shape))


def _squared(matrix: Floats) -> Floats:
    values: Floats = np.square(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    return values


def _cheaper(site: Site, ranks: Ranks) -> bool:
    return all(new < old for new, old in zip(cost(site, ranks), whole_cost(site), strict=True))


@dataclass(frozen=True, slots=True)
class Option:
    """A way to factor one layer (no ranks: not at all), its cost and the share of its energy it loses."""

    ranks: Ranks | None
    cost: int
    lost_frac: float


def _within(found: Sequence[Site], config: LowRank, unit: int, frac: float, total: int) -> list[Ranks | None]:
    """Take, of all layers, the step that loses least energy per unit saved until the network fits.

    On the lower convex hulls of (cost, energy lost) that is the optimum for every total it passes through; the
    layer of the last step then takes back what is left of the budget.
    """
    options = [list(_options(site, config, unit)) for site in found]
    hulls = [hull(some) for some in options]
    steps = [
        (_slope(*pair), layer, pair[1])
        for layer, kept in enumerate(hulls)
        for pair in itertools.pairwise(kept)
    ]
    chosen, now = [kept[0] for kept in hulls], total
    for _, layer, option in sorted(steps, key=lambda step: step[:2]):
        if now <= frac * total:
            break
        others = now - chosen[layer].cost
        now, chosen[layer] = others + option.cost, option
        if now <= frac * total:
            fitting = [other for other in options[layer] if others + other.cost <= frac * total]
            chosen[layer] = min(fitting, key=lambda other: (other.lost_frac, other.cost))
    if now > frac * total:
        name = "parameters_frac" if unit else "macs_frac"
        raise FoundryError(
            f"low_rank: {name} {frac} cannot be met: with rank_floor {config.rank_floor} and round_to "
            f"{config.round_to} the least is {now / total:.3f}"
        )
    return [option.ranks for option in chosen]


def _options(site: Site, config: LowRank, unit: int) -> Iterator[Option]:
    """Yield the layer as it is, then every pair of allowed ranks that is cheaper."""
    yield Option(None, whole_cost(site)[unit], 0.0)
    sides = []
    for matrix, side in zip(_matrices(site), channels(site), strict=True):
        squared = _squared(matrix)
        lost = np.append(1 - np.cumsum(squared) / squared.sum(), 0.0)
        ranks = {rounded(rank, side, len(squared), config) for rank in range(1, side + 1)}
        sides.append([(rank, float(lost[min(rank, len(squared)) - 1])) for rank in sorted(ranks)])
    for pairs in itertools.product(*sides):
        ranks_of_sides = tuple(rank for rank, _ in pairs)
        if _cheaper(site, ranks_of_sides):
            yield Option(ranks_of_sides, cost(site, ranks_of_sides)[unit], sum(lost for _, lost in pairs))


def hull(options: Sequence[Option]) -> list[Option]:
    """Return the lower convex hull from the first option, dearest and lossless, to the cheapest."""
    kept = [options[0]]
    while cheaper := [option for option in options if option.cost < kept[-1].cost]:
        here = kept[-1]
        kept.append(min(cheaper, key=lambda option: (_slope(here, option), option.cost)))
    return kept


def _slope(before: Option, after: Option) -> float:
    """Return the energy lost per unit saved, not less than 0 (rounding of the sums)."""
    return max(after.lost_frac - before.lost_frac, 0.0) / (before.cost - after.cost)
