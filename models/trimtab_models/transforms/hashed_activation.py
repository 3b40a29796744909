"""Sparse activation by randomised hashing (Spring and Shrivastava, KDD 2017, arXiv 1602.08194).

Each neuron's weights are stored under the signs of random projections in several hash tables; an input is
hashed likewise, and only the neurons it collides with most are computed, in training too. Since a large inner
product is what is sought, not a small angle, neurons are first lifted to equal norm (Neyshabur and Srebro,
'Simple-LSH', ICML 2015).

What it saves are multiplications, counted by :func:`count_operations`. It does not save time: the exported
graph computes the dense product and masks it, which at batch 1 took ONNX Runtime about twice as long as the
dense layer alone (784 to 1000 neurons, 64 one-bit tables); gathering the rows of the 5 % active neurons took
1.4 times as long.
"""

# mypy: allow-untyped-decorators, allow-subclassing-any
import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.datasets.samples import Samples, scaled
from trimtab_models.errors import FoundryError
from trimtab_models.measure import count_macs
from trimtab_models.registry import Context, Report, register
from trimtab_models.transforms.configs import HashedActivation

_NAME: Final = "hashed_activation"
_MEMORY: Final = 0.1
_OBSERVED: Final = 5000
_BATCH: Final = 100
_MARGIN: Final = 1e-3
"""Projections up to this count as negative: sums that should be 0 then hash alike in every runtime."""


@register(HashedActivation)
def hashed_activation(
    network: nn.Module, config: HashedActivation, context: Context
) -> tuple[nn.Module, Report]:
    """Return ``network`` with hashed hidden dense layers, fine-tuned if the config has ``training``.

    Raise ``FoundryError`` if no hidden dense layer is wide enough.
    """
    chance = torch.Generator().manual_seed(context.seed)
    replaced = _replace(network, config, context.splits.classes, chance)
    if not replaced:
        raise FoundryError(f"{_NAME}: no hidden dense layer with {config.min_neurons} neurons or more")
    observe(network, replaced, context.splits.train)
    steps = 0

    def rehash() -> None:
        nonlocal steps
        steps += 1
        if steps % config.rehash_steps == 0:
            for layer in replaced:
                layer.rehash()

    context.tune(network, config.training, on_step=rehash)
    for layer in replaced:
        layer.rehash()
    counted = count_operations(network, context.splits.validation)
    facts = {
        "layers": len(replaced),
        "active_frac": round(counted.active_frac, 4),
        "macs_dense": counted.dense_macs,
        "macs_active": round(counted.active_macs),
        "hash_additions": round(counted.hash_additions),
        "multiplications_frac": round(counted.multiplications_frac, 4),
        "operations_frac": round(counted.operations_frac, 4),
    }
    return network, Report(_NAME, facts)


def _replace(
    parent: nn.Module, config: HashedActivation, classes: int, chance: torch.Generator
) -> "list[HashedLinear]":
    """Replace, in place and depth first, every dense layer that qualifies; return the new ones."""
    replaced = []
    for name, child in list(parent.named_children()):
        if type(child) is nn.Linear and child.out_features != classes:
            if child.out_features >= config.min_neurons:
                hashed = HashedLinear(child, config, chance)
                setattr(parent, name, hashed)
                replaced.append(hashed)
        else:
            replaced += _replace(child, config, classes, chance)
    return replaced


@torch.no_grad()
def observe(network: nn.Module, layers: "list[HashedLinear]", samples: Samples) -> None:
    """Show the hashed layers what inputs they get, the first layer first, before anything is trained."""
    network.eval()
    for layer in layers:
        layer.train()
        for at in range(0, min(len(samples), _OBSERVED), _BATCH):
            network(torch.from_numpy(scaled(samples.inputs[at : at + _BATCH], samples.scale)))
        layer.rehash()
        layer.eval()


class HashedLinear(nn.Linear):
    """A dense layer that answers 0 for every neuron its hash tables do not find; for a ReLU to follow.

    An input is hashed relative to ``mean``, the average of the inputs seen in training, by comparing its
    ``projections`` (in_features, tables x bits) to ``offsets``. ``codes`` (neurons, tables) are integers in
    float32. ``extra`` (2, tables x bits) projects bias and lift of the neurons.
    """

    projections: Tensor
    extra: Tensor
    offsets: Tensor
    codes: Tensor
    places: Tensor
    rank: Tensor
    mean: Tensor
    spread: Tensor

    def __init__(self, dense: nn.Linear, config: HashedActivation, chance: torch.Generator) -> None:
        super().__init__(dense.in_features, dense.out_features, dense.bias is not None)
        self.load_state_dict(dense.state_dict())
        self.bits, self.tables = config.bits, config.tables
        self.limit = max(1, int(config.active_frac * dense.out_features))
        columns = config.tables * config.bits
        signs = random_signs((dense.in_features, columns), config.density_frac, chance)
        self.register_buffer("projections", signs)
        self.register_buffer("extra", config.density_frac**0.5 * random_signs((2, columns), 1.0, chance))
        self.register_buffer("offsets", torch.zeros(columns))
        self.register_buffer("places", 2.0 ** torch.arange(config.bits))
        self.register_buffer("rank", torch.arange(dense.out_features - 1.0, -1.0, -1.0))
        self.register_buffer("codes", torch.zeros(dense.out_features, config.tables))
        self.register_buffer("mean", torch.zeros(dense.in_features))
        self.register_buffer("spread", torch.ones(()))
        self.rehash()

    @torch.no_grad()
    def rehash(self) -> None:
        """Store the neurons under the codes of their weights as they are now, seen from the mean input."""
        neurons, scale = centred(self.weight, self.bias, self.mean, self.spread)
        self.codes.copy_(self._code(lifted(neurons) @ torch.cat([self.projections, self.extra])))
        self.offsets.copy_(self.mean @ self.projections - scale * self.extra[0] + _MARGIN)

    @torch.no_grad()
    def observe(self, inputs: Tensor) -> None:
        """Move mean and spread of the inputs towards those of a batch (n, in_features)."""
        self.mean.lerp_(inputs.float().mean(dim=0), _MEMORY)
        distance = (inputs.float() - self.mean).square().sum(dim=1).mean().sqrt()
        self.spread.lerp_(distance, _MEMORY)

    def _code(self, projected: Tensor) -> Tensor:
        bits = (projected > 0).float().reshape(-1, self.tables, self.bits)
        return (bits * self.places).sum(dim=2)

    def active(self, inputs: Tensor) -> Tensor:
        """Return 1 for the neurons (n, neurons) to compute, 0 for the others.

        Those found in most tables, at most ``limit``; of equals the earlier.
        """
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            query = self._code(inputs.float() @ self.projections - self.offsets)
            found = (query[:, None] == self.codes[None]).float().sum(dim=2)
            order = found * self.out_features + self.rank
            least = order.topk(self.limit, dim=1).values[:, -1:]
            return ((order >= least) & (found > 0)).float()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (n, in_features) to (n, neurons), 0 where inactive."""
        if self.training:
            self.observe(inputs)
        return functional.linear(inputs, self.weight, self.bias) * self.active(inputs)


def random_signs(shape: tuple[int, int], density_frac: float, chance: torch.Generator) -> Tensor:
    """Return entries -1 and 1, each in half of ``density_frac`` of the places, 0 elsewhere.

    With 1/3 they preserve angles as Gaussians do (Achlioptas, 2003); sparser: Li, Hastie and Church, 2006.
    """
    uniform = torch.rand(shape, generator=chance)
    return (uniform < density_frac / 2).float() - (uniform > 1 - density_frac / 2).float()


def centred(weight: Tensor, bias: Tensor | None, mean: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Return neurons (n, inputs + 1) for queries (inputs - mean, scale), and that scale.

    What is the same for all neurons is left out, so inner products keep their order while angles grow. The
    scale balances the bias against the rest; ``spread`` is the typical length of inputs - mean.
    """
    shift = weight @ mean + (0.0 if bias is None else bias)
    rows, shift = weight - weight.mean(dim=0), shift - shift.mean()
    length = rows.square().sum(dim=1).mean().sqrt()
    scale = (spread * shift.square().mean().sqrt() / length.clamp(min=1e-12)).sqrt().clamp(min=1e-6)
    return torch.cat([rows, shift[:, None] / scale], dim=1), scale


def lifted(neurons: Tensor) -> Tensor:
    """Append to neurons (n, d) what gives all of them the norm of the largest; queries get a 0 there."""
    square = neurons.square().sum(dim=1, keepdim=True)
    return torch.cat([neurons, (square.max() - square).clamp(min=0).sqrt()], dim=1)


def found_prob(angle_rad: float, bits: int, tables: int) -> float:
    """Return the probability that two vectors at this angle share a code in at least one table.

    1 - (1 - p^K)^L with p = 1 - angle / pi (Charikar, 2002).
    """
    together = (1 - angle_rad / math.pi) ** bits
    return 1 - (1 - together) ** tables


@dataclass(frozen=True, slots=True)
class Operations:
    """What one sample costs on average; ``dense_macs`` of the same network without hashing.

    ``active_macs`` skips inactive neurons and, in the layer behind them, the weights they meet;
    ``hash_additions`` are the additions of hashing, which multiplies nothing.
    """

    dense_macs: int
    active_macs: float
    hash_additions: float
    active_frac: float

    @property
    def multiplications_frac(self) -> float:
        """Return the share of the dense multiplications that remains."""
        return self.active_macs / self.dense_macs

    @property
    def operations_frac(self) -> float:
        """Return the same with each addition of hashing counted as a multiply-accumulate."""
        return (self.active_macs + self.hash_additions) / self.dense_macs


@torch.inference_mode()
def count_operations(network: nn.Module, samples: Samples, batch: int = 500) -> Operations:
    """Return the average operations of one of ``samples`` through a network with hashed layers.

    Works on any network: without hashed layers ``active_macs`` are the dense ones.
    """
    network.eval()
    counter = _Counter()
    handles = [
        module.register_forward_hook(counter.count)
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        for at in range(0, len(samples), batch):
            network(torch.from_numpy(scaled(samples.inputs[at : at + batch], samples.scale)))
    finally:
        for handle in handles:
            handle.remove()
    return counter.operations(network, samples)


class _Counter:
    """Sum up what dense layers do, sample by sample."""

    def __init__(self) -> None:
        self.saved_macs = self.additions = 0.0
        self.active = self.neurons = 0.0
        self.mask: Tensor | None = None

    def count(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Take one batch through one layer."""
        del output
        if not isinstance(layer, nn.Linear):
            return
        (hidden,) = inputs
        taken = torch.full((len(hidden),), float(layer.in_features))
        if self.mask is not None and self.mask.shape == hidden.shape:
            taken = self.mask.sum(dim=1)  # what inactive neurons would give is not read
        computed = torch.full((len(hidden),), float(layer.out_features))
        if isinstance(layer, HashedLinear):
            mask = layer.active(hidden)
            computed = mask.sum(dim=1)
            self.active += float(computed.sum())
            self.neurons += mask.numel()
            self.additions += self._hashing(layer, hidden)
        self.saved_macs += float((layer.in_features * layer.out_features - taken * computed).sum())
        self.mask = mask if isinstance(layer, HashedLinear) else None

    def _hashing(self, layer: HashedLinear, hidden: Tensor) -> float:
        entries = (layer.projections != 0).sum(dim=1).float()
        read = torch.ones_like(hidden) if self.mask is None else self.mask
        return float((read @ entries).sum() + len(hidden) * len(layer.offsets))

    def operations(self, network: nn.Module, samples: Samples) -> Operations:
        """Return the averages over all samples counted."""
        example = torch.from_numpy(scaled(samples.inputs[:1], samples.scale))
        hashed = [m for m in network.modules() if isinstance(m, HashedLinear)]
        extra = sum(m.in_features * m.tables * m.bits for m in hashed)
        dense = count_macs(network, example) - extra
        return Operations(
            dense,
            dense - self.saved_macs / len(samples),
            self.additions / len(samples),
            self.active / self.neurons if self.neurons else 1.0,
        )
