"""Selective execution: gates skip residual blocks (Liu and Deng, 'Dynamic deep neural networks', AAAI 2018).

In ONNX a gated block is an ``If``: where no sample of the batch wants the block, it is not executed.
"""

# mypy: allow-subclassing-any, allow-untyped-decorators
from typing import Any

import torch
from torch import Tensor, nn

from trimtab_models.architectures.resnet import BasicBlock, Residual
from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.distillation import taught_loss
from trimtab_models.errors import FoundryError
from trimtab_models.measure import count_macs
from trimtab_models.registry import Context, Report, register
from trimtab_models.training import Batch, Loss, predict
from trimtab_models.transforms.configs import SkipBlocks

_FIRST_SCORE = 1.0
"""Fresh gates lean towards executing: the network starts as the one that was trained."""


class GatedBlock(nn.Module):
    """A block that leaves its input as it is for the samples its gate does not choose.

    ``macs`` are those of the block for one sample; ``wanted`` (batch,) is 1 for each sample of the last batch
    that it was executed for.
    """

    wanted: Tensor

    def __init__(self, block: nn.Module, channels: int, macs: int, config: SkipBlocks) -> None:
        super().__init__()
        self.block = block
        self.macs = macs
        self.temperature = config.temperature
        score = nn.Linear(config.gate_width, 1)
        nn.init.constant_(score.bias, _FIRST_SCORE)
        hidden = nn.Linear(channels, config.gate_width)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), hidden, nn.ReLU(), score)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, channels, h, w) to the same shape."""
        score = self.gate(hidden).float()
        if torch.compiler.is_exporting():
            return self._branch(hidden, score)
        wanted = self._drawn(score) if self.training else (score > 0).float()
        self.wanted = wanted[:, 0]
        return torch.lerp(hidden, self.block(hidden), wanted[:, :, None, None].to(hidden.dtype))

    def _drawn(self, score: Tensor) -> Tensor:
        """Return 0 or 1 with probability sigmoid(score); gradients are those of the softened decision."""
        uniform = torch.rand_like(score).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((score + uniform.logit()) / self.temperature)
        return (soft > 0.5).float() + soft - soft.detach()

    def _branch(self, hidden: Tensor, score: Tensor) -> Tensor:
        wanted = (score > 0)[:, :, None, None]

        def execute(hidden: Tensor, wanted: Tensor) -> Tensor:
            return torch.where(wanted, self.block(hidden), hidden)

        def skip(hidden: Tensor, wanted: Tensor) -> Tensor:
            del wanted
            return hidden.clone()

        out: Tensor = torch.cond(score.amax(0).squeeze(0) > 0, execute, skip, (hidden, wanted))
        return out


@register(SkipBlocks)
def skip_blocks(network: nn.Module, config: SkipBlocks, context: Context) -> tuple[nn.Module, Report]:
    """Return ``network`` with gates before its skippable blocks, trained together with it."""
    torch.manual_seed(context.seed)
    gated = add_gates(network, config, context.splits)
    torch.manual_seed(context.seed)
    single = taught_loss(config.training, context.reference, context.splits.train)
    context.tune(network, config.training, rewarded_loss(config, single, gated))
    shares = executed_shares(network, gated, context.splits.validation)
    facts = {f"executed_frac_{i}": round(share, 3) for i, share in enumerate(shares)}
    whole = count_macs(network, torch.zeros(1, *context.splits.shape))
    saved = sum((1 - share) * block.macs for share, block in zip(shares, gated, strict=True))
    return network, Report("skip_blocks", {**facts, "macs": whole, "mean_macs": round(whole - saved)})


def add_gates(network: nn.Module, config: SkipBlocks, splits: Splits) -> list[GatedBlock]:
    """Put, in place, a gate on each residual block that keeps its input's shape; raise ``FoundryError``."""
    network.eval()
    inputs: dict[nn.Module, Tensor] = {}
    handles = [
        block.register_forward_pre_hook(lambda block, given: inputs.__setitem__(block, given[0]))
        for block in network.modules()
        if _skippable(block)
    ]
    with torch.no_grad():
        network(torch.zeros(1, *splits.shape))
    for handle in handles:
        handle.remove()
    if not inputs:
        raise FoundryError(f"skip_blocks: {type(network).__name__} has no residual block to skip")
    gates = {
        block: GatedBlock(block, given.shape[1], count_macs(block, given), config)
        for block, given in inputs.items()
    }
    _replace(network, gates)
    network.eval()
    return list(gates.values())


def _skippable(module: nn.Module) -> bool:
    return isinstance(module, Residual) or (
        isinstance(module, BasicBlock) and isinstance(module.shortcut, nn.Identity)
    )


def _replace(parent: nn.Module, gates: dict[nn.Module, GatedBlock]) -> None:
    for name, child in list(parent.named_children()):
        if child in gates:
            setattr(parent, name, gates[child])
        else:
            _replace(child, gates)


def rewarded_loss(config: SkipBlocks, single: Loss, gated: list[GatedBlock]) -> Loss:
    """Return accuracy_weight x ``single`` + (1 - accuracy_weight) x (share executed in excess)^2."""
    total_macs = sum(block.macs for block in gated)
    weight, goal = config.accuracy_weight, config.execute_frac

    def loss(answers: Any, batch: Batch) -> Tensor:
        shares = [block.wanted.mean() * (block.macs / total_macs) for block in gated]
        excess = torch.relu(torch.stack(shares).sum() - goal)
        total: Tensor = weight * single(answers, batch) + (1 - weight) * excess**2
        return total

    return loss


def executed_shares(network: nn.Module, gated: list[GatedBlock], samples: Samples) -> list[float]:
    """Return the share of ``samples`` each gated block is executed for."""
    seen: list[list[Tensor]] = [[] for _ in gated]
    handles = [
        block.register_forward_hook(lambda block, _given, _out, kept=kept: kept.append(block.wanted))
        for block, kept in zip(gated, seen, strict=True)
    ]
    predict(network, samples)
    for handle in handles:
        handle.remove()
    return [float(torch.cat(kept).mean()) for kept in seen]
