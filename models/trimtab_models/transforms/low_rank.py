"""Low-rank factors: Tucker-2 for convolutions (Kim et al., ICLR 2016), truncated SVD for dense layers."""

from torch import nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import LowRank
from trimtab_models.transforms.factors import Ranks, factored, is_factorable
from trimtab_models.transforms.ranks import choose
from trimtab_models.transforms.surgery import cost_facts, sites, swap


@register(LowRank)
def low_rank(network: nn.Module, config: LowRank, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with factored layers, fine-tuned when the config has ``training``.

    The report has the ranks of each factored layer, and what the network costs before and after.
    """
    shape = context.splits.shape
    before = cost_facts(network, shape, "_before")
    found = [
        site
        for site in sites(network, shape)
        if is_factorable(site.layer, pointwise=config.pointwise) and _kind(site.layer) in config.kinds
    ]
    chosen = choose(found, config, (int(before["macs_before"]), int(before["parameters_before"])))
    ranks: dict[str, float] = {}
    for site, wanted in zip(found, chosen, strict=True):
        if wanted is not None:
            swap(network, site, factored(site.layer, wanted))
            ranks |= _named(site.name, wanted)
    count = sum(wanted is not None for wanted in chosen)
    context.tune(network, config.training)
    facts = {"layers_factored": count, **before, **cost_facts(network, shape), **ranks}
    return network, Report("low_rank", facts)


def _kind(layer: nn.Module) -> str:
    return "dense" if isinstance(layer, nn.Linear) else "conv"


def _named(layer: str, ranks: Ranks) -> dict[str, float]:
    names = ("rank",) if len(ranks) == 1 else ("rank_in", "rank_out")
    return {f"{layer}.{name}": rank for name, rank in zip(names, ranks, strict=True)}
