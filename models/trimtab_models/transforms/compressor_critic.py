"""Structure learned by a compressor against a critic (Yao et al., 'DeepIoT', SenSys 2017).

A small LSTM, the compressor, reads a summary of each layer's weights and answers with a keep probability for
each of its elements. The network itself is the critic: it is trained under dropout masks drawn from these
probabilities, and its loss tells the compressor by REINFORCE which elements matter. Probabilities under a
rising threshold are halved, so the critic learns to do without; in the end those elements are removed.

Other than in the paper the threshold follows from the size that should remain at a step, so that the size
asked for is met; the compressor's output layer has a bias; and both learn from the same forward pass.
"""

# mypy: allow-untyped-decorators, allow-subclassing-any
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab_models.registry import Context, Report, register
from trimtab_models.training import Batch, fit
from trimtab_models.transforms.configs import CompressorCritic
from trimtab_models.transforms.elements import WEIGHTED, Group, Layout, choose, gated, layout, remove

MARKED_SCALE: Final = 0.5
"""What the keep probability of an element under the threshold is multiplied by (DeepIoT's published code)."""
_NAME: Final = "compressor_critic"
_MEMORY: Final = 0.9
_THRESHOLD_STEPS: Final = 10


@register(CompressorCritic)
def compressor_critic(
    network: nn.Module, config: CompressorCritic, context: Context
) -> tuple[nn.Module, Report]:
    """Return ``network`` with the elements the compressor keeps, fine-tuned if the config has ``training``.

    The search is repeated when it was interrupted; fine-tuning goes on where it stopped.
    """
    plan = layout(network, context, _NAME)
    game = Game(plan, config, context)
    with gated(network, plan, game.draw):
        fit(
            network,
            context.splits.train,
            config.search,
            game.loss,
            seed=context.seed,
            on_epoch=context.on_epoch,
            on_step=game.step,
        )
    kept, threshold = choose(plan, game.probabilities(), config.keep_frac, config.round_to, _NAME)
    before = int(plan.parameters([1.0] * len(plan.groups)))
    remove(plan, kept)
    context.tune(network, config.training)
    facts: dict[str, float] = {"parameters_before": before, "parameters": parameters_of(network)}
    facts |= {"threshold": round(threshold, 4)}
    facts |= {f"kept {group.name}": int(k.sum()) for group, k in zip(plan.groups, kept, strict=True)}
    return network, Report(_NAME, facts)


def parameters_of(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


class Compressor(nn.Module):
    """One LSTM step per group: weights (rows, elements) in, keep probabilities (elements,) out."""

    def __init__(self, shapes: Sequence[tuple[int, int]], width: int, start_prob: float) -> None:
        super().__init__()
        self.rows = nn.ParameterList(torch.randn(1, rows) * (2 / (1 + rows)) ** 0.5 for rows, _ in shapes)
        self.columns = nn.ParameterList(_normal(size, width) for _, size in shapes)
        self.cell = nn.LSTMCell(width, width)
        self.answers = nn.ModuleList(nn.Linear(width, size) for _, size in shapes)
        odds = torch.logit(torch.tensor(min(start_prob, 0.999)))
        for answer, (_, size) in zip(self.answers, shapes, strict=True):
            answer.weight.data = _normal(size, width)
            answer.bias.data.fill_(float(odds))

    def forward(self, matrices: Sequence[Tensor]) -> list[Tensor]:
        """Map each group's weights, front to back, to the keep probabilities of its elements."""
        state, probabilities = None, []
        for matrix, rows, columns, answer in zip(
            matrices, self.rows, self.columns, self.answers, strict=True
        ):
            state = self.cell(rows @ matrix @ columns, state)
            probabilities.append(torch.sigmoid(answer(state[0]))[0])
        return probabilities


def _normal(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns) * (2 / (rows + columns)) ** 0.5


def weights_of(group: Group) -> Tensor:
    """Return the weights (rows, elements) of all layers that make the group's elements, biases included."""
    parts = []
    for module in group.producers:
        if isinstance(module, WEIGHTED):
            parts.append(module.weight.detach().reshape(group.size, -1).T)
            if module.bias is not None:
                parts.append(module.bias.detach()[None])
    return torch.cat(parts)


def reinforce(
    probabilities: Sequence[Tensor], masks: Sequence[Tensor], losses: Tensor, baseline: float
) -> Tensor:
    """Return a scalar whose gradient estimates that of the expected loss without bias (Williams, 1992).

    ``masks`` (rows, elements) were drawn from ``probabilities`` (elements,) and led to ``losses`` (rows,);
    ``baseline`` must not depend on them.
    """
    advantage = losses - baseline
    chance = torch.zeros_like(losses)
    for probability, mask in zip(probabilities, masks, strict=True):
        likely = torch.where(mask > 0, probability, 1 - probability)
        chance = chance + likely.clamp(min=1e-6).log().sum(dim=1)
    return (advantage * chance).mean()


@dataclass(slots=True, eq=False)
class Game:
    """The alternating search: masks for the critic, its losses back to the compressor."""

    plan: Layout
    config: CompressorCritic
    context: Context
    done_steps: int = 0
    threshold: float = 0.0
    baseline: float | None = None
    scale: float = 1.0
    effective: list[Tensor] = field(default_factory=list)
    masks: list[Tensor] = field(default_factory=list)
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    compressor: Compressor = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    chance: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        """Make the compressor, the same for the same seed."""
        shapes = [tuple(weights_of(group).shape) for group in self.plan.groups]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.context.seed)
            self.compressor = Compressor(shapes, self.config.compressor_width, self.config.start_prob)
        rate = self.config.compressor_rate
        self.optimizer = torch.optim.RMSprop(self.compressor.parameters(), lr=rate)
        self.chance = torch.Generator().manual_seed(self.context.seed)

    def draw(self, rows: int) -> list[Tensor]:
        """Return masks (rows, elements) of 0 and 1 for every group."""
        probabilities = self.compressor([weights_of(group) for group in self.plan.groups])
        self.effective = [torch.where(p < self.threshold, p * MARKED_SCALE, p) for p in probabilities]
        self.masks = [
            torch.bernoulli(p.detach().expand(rows, -1), generator=self.chance) for p in self.effective
        ]
        return self.masks

    def loss(self, logits: Any, batch: Batch) -> Tensor:
        """Return the critic's loss under the masks drawn last."""
        each = functional.cross_entropy(logits.float(), batch.labels, reduction="none")
        self.losses = each.detach()
        return each.mean()

    def step(self) -> None:
        """Let the compressor learn from the critic's last losses; raise the threshold."""
        mean, spread = float(self.losses.mean()), float(self.losses.std(correction=0))
        if self.baseline is not None:  # the first batch only sets it
            value = reinforce(self.effective, self.masks, self.losses, self.baseline) / max(self.scale, 1e-3)
            self.optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call,unused-ignore]  # torch leaves it untyped
            self.optimizer.step()
        before = (mean, spread) if self.baseline is None else (self.baseline, self.scale)
        self.baseline = _MEMORY * before[0] + (1 - _MEMORY) * mean
        self.scale = _MEMORY * before[1] + (1 - _MEMORY) * spread
        self.done_steps += 1
        if self.done_steps % _THRESHOLD_STEPS == 0:
            self._raise_threshold()

    def probabilities(self) -> list[Tensor]:
        """Return the keep probabilities (elements,) of every group."""
        with torch.no_grad():
            return list(self.compressor([weights_of(group) for group in self.plan.groups]))

    def _raise_threshold(self) -> None:
        training = self.config.search
        steps = training.epochs * -(-len(self.context.splits.train) // training.batch)
        risen = min(1.0, self.done_steps / (steps * self.config.rise_frac))
        share = 1 - risen * (1 - self.config.keep_frac)
        scores = self.probabilities()
        _, self.threshold = choose(self.plan, scores, share, self.config.round_to, _NAME)
