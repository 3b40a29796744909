"""Magnitude pruning with retraining (Han et al., 'Learning both weights and connections', NIPS 2015)."""

# mypy: allow-untyped-decorators
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import PruneMagnitude
from trimtab_models.transforms.layerwise import Hold, Layer, LayerError, per_layer, weighted_layers


@register(PruneMagnitude)
def prune_magnitude(network: nn.Module, config: PruneMagnitude, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with its smallest weights exactly zero, retrained after each round of pruning.

    An interrupted call goes on with the round it was in. Raises ``LayerError`` for settings that fit no layer
    and for layers left without weights.
    """
    targets = _targets(network, config)
    weights = sum(layer.weight.numel() for layer in targets.values())
    for number in range(_restore(network, context.partial), config.rounds):
        pruned = smallest(targets, _fracs(network, config, number + 1))
        _tune_round(
            network,
            config,
            context,
            number,
            Hold((targets[name].weight, gone) for name, gone in pruned.items()),
        )
        _save(network, context.partial, number + 1)
    if context.partial is not None:
        _finished(context.partial).unlink(missing_ok=True)
    kept = sum(int(layer.weight.count_nonzero()) for layer in targets.values())
    return network, Report("prune_magnitude", {"weights_before": weights, "weights": kept})


def keep_after(number: int, config: PruneMagnitude, final_keep_frac: float) -> float:
    """Return the share of weights a layer keeps in round ``number``, the first being 1."""
    left = 1 - number / config.rounds
    done_frac = 1 - (left**3 if config.schedule == "cubic" else left)
    return 1 - (1 - final_keep_frac) * done_frac


@torch.no_grad()
def smallest(layers: Mapping[str, Layer], keep_frac: Mapping[str, float] | float) -> dict[str, Tensor]:
    """Return which weights of each layer to prune: all but its share, or all but one share of all layers.

    A share of n weights is rounded to whole weights; of equal magnitudes the first stay. Raises
    ``LayerError`` naming a layer that would lose all its weights.
    """
    sizes = {name: layer.weight.abs().contiguous() for name, layer in layers.items()}
    if not isinstance(keep_frac, float):
        pruned = {name: _all_but_largest(size, keep_frac[name]) for name, size in sizes.items()}
    else:
        together = _all_but_largest(torch.cat([size.flatten() for size in sizes.values()]), keep_frac)
        parts = torch.split(together, [size.numel() for size in sizes.values()])
        pruned = {name: part.view(sizes[name].shape) for name, part in zip(sizes, parts, strict=True)}
    for name, gone in pruned.items():
        if bool(gone.all()):
            raise LayerError(
                f"prune_magnitude: layer {name}: none of its {gone.numel()} weights would be left; keep more"
            )
    return pruned


def _all_but_largest(sizes: Tensor, keep_frac: float) -> Tensor:
    kept = round(keep_frac * sizes.numel())
    order = sizes.flatten().argsort(descending=True, stable=True)
    gone = torch.ones(sizes.numel(), dtype=torch.bool)
    gone[order[:kept]] = False
    return gone.view(sizes.shape)


def _targets(network: nn.Module, config: PruneMagnitude) -> dict[str, Layer]:
    layers = weighted_layers(network)
    if config.global_keep_frac is not None:
        return layers
    return {name: layers[name] for name in per_layer(network, config.keep_frac, "prune_magnitude.keep_frac")}


def _fracs(network: nn.Module, config: PruneMagnitude, number: int) -> dict[str, float] | float:
    if config.global_keep_frac is not None:
        return keep_after(number, config, config.global_keep_frac)
    final = per_layer(network, config.keep_frac, "prune_magnitude.keep_frac")
    return {name: keep_after(number, config, value) for name, value in final.items()}


def _tune_round(
    network: nn.Module, config: PruneMagnitude, context: Context, number: int, hold: Hold
) -> None:
    """Prune, then retrain: each round sees the samples in an order of its own."""
    last = number == config.rounds - 1
    training = config.final_training if last and config.final_training else config.training
    hold()
    replace(context, seed=context.seed + number).tune(network, training, on_step=hold)


def _finished(partial: Path) -> Path:
    return partial.with_suffix(".rounds")


def _save(network: nn.Module, partial: Path | None, rounds: int) -> None:
    if partial is None:
        return
    fresh = _finished(partial).with_suffix(".writing")
    torch.save({"rounds": rounds, "network": network.state_dict()}, fresh)
    fresh.replace(_finished(partial))


def _restore(network: nn.Module, partial: Path | None) -> int:
    """Load the state after the last finished round, if there is one; return how many are finished."""
    if partial is None or not _finished(partial).exists():
        return 0
    state = torch.load(_finished(partial), weights_only=True)
    network.load_state_dict(state["network"])
    return int(state["rounds"])
