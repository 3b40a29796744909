"""Hidden elements of a network (neurons, filters): gate them while training, then remove them for good.

Layers that are coupled (by a sum, a batch norm, a depthwise convolution) share their elements; which ones do
is found by Torch-Pruning's dependency graph (Fang et al., 'DepGraph', CVPR 2023). A gate multiplies what the
layers behind an element take in, so a gate of 0 is exactly the network without the element.
"""

# mypy: allow-untyped-decorators
import bisect
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn

from trimtab_models.architectures.frontends import Frontend
from trimtab_models.errors import FoundryError
from trimtab_models.registry import Context

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

Draw = Callable[[int], Sequence[Tensor]]
"""Gates (rows, elements) or (elements,) of every group for a batch of so many rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Elements that exist together.

    ``consumers`` are the layers that take them in, each with the element behind each of its input features.
    """

    name: str
    root: nn.Module
    size: int
    producers: tuple[nn.Module, ...]
    consumers: tuple[tuple[nn.Module, Tensor], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """All groups of a network from front to back, and how its size depends on them.

    A term (n, groups) stands for n parameters of which the product of these groups' kept shares remains.
    """

    graph: Any
    groups: tuple[Group, ...]
    terms: tuple[tuple[int, tuple[int, ...]], ...]

    def parameters(self, shares: Sequence[Tensor | float]) -> Any:
        """Return how many parameters remain when group g keeps ``shares[g]`` of its elements."""
        total: Any = 0.0
        for count, members in self.terms:
            left: Any = float(count)
            for member in members:
                left = left * shares[member]
            total = total + left
        return total


def layout(network: nn.Module, context: Context, transform: str) -> Layout:
    """Find the removable elements of ``network``; raise ``FoundryError`` naming a layer that has none we know.

    What no layer takes in (the logits) stays, and so does the frontend.
    """
    names = {module: name for name, module in network.named_modules()}
    _refuse_unknown(network, names, transform)
    network.eval()
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(1, *context.splits.shape))
    order = {name: position for position, name in enumerate(names.values())}
    found = [_group(graph, group, names, transform) for group in graph.get_all_groups()]
    groups = tuple(sorted((g for g in found if g.consumers), key=lambda group: order[group.name]))
    if not groups:
        raise FoundryError(f"{transform}: the network has no hidden elements to remove")
    return Layout(graph, groups, tuple(_terms(network, groups)))


def _refuse_unknown(network: nn.Module, names: dict[nn.Module, str], transform: str) -> None:
    for module in _trained(network):
        if type(module) not in (*WEIGHTED, *NORMS):
            kind = type(module).__name__
            raise FoundryError(
                f"{transform}: layer {names[module]} ({kind}): only convolutions, dense layers and batch norms"
            )
        grouped = isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.groups != 1
        if grouped and not module.groups == module.in_channels == module.out_channels:
            raise FoundryError(f"{transform}: layer {names[module]}: {module.groups} groups of channels")


def _trained(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.modules():
        if not isinstance(module, Frontend) and next(module.parameters(recurse=False), None) is not None:
            yield module


def _group(graph: Any, found: Any, names: dict[nn.Module, str], transform: str) -> Group:
    producers, consumers = [], []
    for item in found:
        module = item.dep.target.module
        if not isinstance(module, (*WEIGHTED, *NORMS)):
            continue
        if graph.is_out_channel_pruning_fn(item.dep.handler):
            producers.append(module)
            continue
        features = module.in_features if isinstance(module, nn.Linear) else module.in_channels
        if sorted(item.idxs) != list(range(features)):
            raise FoundryError(f"{transform}: layer {names[module]}: takes the outputs of several layers")
        behind = torch.empty(features, dtype=torch.long)
        behind[torch.tensor(item.idxs)] = torch.tensor(item.root_idxs)
        consumers.append((module, behind))
    weighted = [module for module in producers if isinstance(module, WEIGHTED)]
    first = min(weighted, key=list(names).index)
    root = found[0].dep.target.module
    return Group(names[first], root, len(found[0].idxs), tuple(producers), tuple(consumers))


def _terms(network: nn.Module, groups: Sequence[Group]) -> Iterator[tuple[int, tuple[int, ...]]]:
    made = {module: g for g, group in enumerate(groups) for module in group.producers}
    taken = {module: g for g, group in enumerate(groups) for module, _ in group.consumers}
    for module in _trained(network):
        outputs = (made[module],) if module in made else ()
        inputs = (taken[module],) if module in taken else ()
        for name, parameter in module.named_parameters(recurse=False):
            yield parameter.numel(), outputs + inputs if name == "weight" else outputs


@contextlib.contextmanager
def gated(network: nn.Module, plan: Layout, draw: Draw) -> Iterator[None]:
    """Within the context each forward pass multiplies every element by a gate that ``draw`` gives."""
    drawn: list[Tensor] = []

    def prepare(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        del module
        with torch.autocast("cpu", enabled=False):
            drawn[:] = draw(len(inputs[0]))

    handles = [network.register_forward_pre_hook(prepare)]
    for number, group in enumerate(plan.groups):
        for module, behind in group.consumers:
            handles.append(module.register_forward_pre_hook(_gate(drawn, number, behind)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _gate(drawn: list[Tensor], number: int, behind: Tensor) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        del module
        (hidden,) = inputs
        gates = drawn[number].to(hidden.dtype)[..., behind]
        return (hidden * gates.reshape(*gates.shape, *[1] * (hidden.ndim - 2)),)

    return hook


def choose(
    plan: Layout, scores: Sequence[Tensor], keep_frac: float, round_to: int, transform: str
) -> tuple[list[Tensor], float]:
    """Return (which elements of each group stay, the threshold): at most ``keep_frac`` of all parameters.

    Elements whose score is under one threshold for the whole network go; each group keeps its best ones, a
    multiple of ``round_to`` where it has as many. Raise ``FoundryError`` when even that is too many.
    """
    total = float(plan.parameters([1.0] * len(plan.groups)))
    thresholds = torch.unique(torch.cat([score.detach() for score in scores])).tolist()
    thresholds.append(float("inf"))

    def removed_frac(threshold: float) -> float:
        kept = _kept(scores, threshold, round_to)
        return 1 - float(plan.parameters([float(k.float().mean()) for k in kept])) / total

    wanted = 1 - keep_frac
    at = bisect.bisect_left(thresholds, wanted - 1e-9, key=removed_frac)
    if at == len(thresholds):
        least = 1 - removed_frac(float("inf"))
        raise FoundryError(
            f"{transform}: keep_frac {keep_frac}: {least:.4f} of the parameters stay with {round_to} elements each"
        )
    return _kept(scores, thresholds[at], round_to), thresholds[at]


def _kept(scores: Sequence[Tensor], threshold: float, round_to: int) -> list[Tensor]:
    kept = []
    for score in scores:
        passing = int((score >= threshold).sum())
        rounded = max(-(-passing // round_to) * round_to, round_to)
        best = score.detach().argsort(descending=True, stable=True)[: min(rounded, len(score))]
        kept.append(torch.zeros(len(score), dtype=torch.bool).index_fill(0, best, True))
    return kept


@torch.no_grad()
def fold(plan: Layout, gates: Sequence[Tensor]) -> None:
    """Multiply gates (elements,) into the weights of the layers behind, for good."""
    for group, gate in zip(plan.groups, gates, strict=True):
        for module, behind in group.consumers:
            weight: Tensor = module.weight  # type: ignore[assignment,unused-ignore]  # of WEIGHTED only
            weight.mul_(gate[behind].reshape(1, -1, *[1] * (weight.ndim - 2)))


def remove(plan: Layout, kept: Sequence[Tensor]) -> None:
    """Take out, in place, all elements not in ``kept`` from every layer they run through."""
    for group, stays in zip(plan.groups, kept, strict=True):
        gone = (~stays).nonzero().flatten().tolist()
        if gone:
            prune = plan.graph.get_pruner_of_module(group.root).prune_out_channels
            plan.graph.get_pruning_group(group.root, prune, gone).prune()
