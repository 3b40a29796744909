"""Settings of the transforms that spend less on easy inputs."""

from dataclasses import dataclass, field
from typing import ClassVar, Final

from trimtab_models.settings import Training, check_frac


@dataclass(frozen=True, slots=True)
class Branch:
    """The classifier of an early exit: max pooling, convolutions, a dense layer (BranchyNet, section III).

    ``pool`` is the side of the max pooling in front (1: none). Each entry of ``channels`` is a 3x3 convolution
    of ``stride`` with batch norm and ReLU. ``mean`` averages the map over its pixels; otherwise it is
    flattened. ``hidden`` > 0 puts one more dense layer of that width before the logits. Maps of height 1 are
    pooled and convolved along time only.
    """

    pool: int = 2
    channels: tuple[int, ...] = ()
    stride: int = 2
    mean: bool = False
    hidden: int = 0

    def __post_init__(self) -> None:
        """Refuse sides, strides and widths under 1; raise ``ValueError``."""
        if min(self.pool, self.stride, *self.channels, 1) < 1 or self.hidden < 0:
            raise ValueError("pool, stride and channels must be at least 1, hidden at least 0")


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """Give the network classifiers on its way and train all of them together (BranchyNet, 2016).

    ``exits`` names the pieces of the network, from 0, after which one can leave; without it one can leave
    after every piece. ``branches`` has a design for each of them, or one for all; without it each gets pooling,
    one convolution and a dense layer. ``loss_weights`` has one entry per exit, first exit first and the last
    exit included; without it they fall evenly from 1.0 to 0.3, as in the paper. ``self_teach_frac`` is the
    share of an early exit's loss that is its divergence from the last exit's answers (Zhang et al., 'Be your
    own teacher', ICCV 2019). With ``freeze_trunk`` the network stays as it is and only the exits learn.

    The exit rules are ``thresholds`` on the confidence (max softmax), or else the best at most ``budgets`` of
    the 39 budgets of MSDNet (Huang et al., ICLR 2018). They are no part of the ``repr``, which names trained
    networks in the build's cache: other rules need no other weights.
    """

    after_export: ClassVar[bool] = False
    training: Training
    exits: tuple[int, ...] = ()
    branches: tuple[Branch, ...] = ()
    loss_weights: tuple[float, ...] = ()
    self_teach_frac: float = 0.0
    freeze_trunk: bool = False
    thresholds: tuple[float, ...] = field(default=(), repr=False)
    budgets: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        """Refuse unusable rules, exits and shares; raise ``ValueError``."""
        if bool(self.thresholds) == bool(self.budgets):
            raise ValueError("give either thresholds or budgets")
        if self.budgets < 0:
            raise ValueError("budgets must not be negative")
        for threshold in self.thresholds:
            check_frac("thresholds", threshold)
        if any(exit_at < 0 for exit_at in self.exits) or list(self.exits) != sorted(set(self.exits)):
            raise ValueError("exits must rise from 0 or more")
        if self.self_teach_frac:
            check_frac("self_teach_frac", self.self_teach_frac)


@dataclass(frozen=True, slots=True)
class SkipBlocks:
    """Let a small gate decide per input which residual blocks run (D2NN, Liu and Deng, AAAI 2018).

    A gate averages the map over its pixels and has one hidden layer of ``gate_width``. Gates and network are
    trained together on the reward lambda x accuracy + (1 - lambda) x efficiency of the paper, where
    ``accuracy_weight`` is lambda and efficiency is 1 while the share of the gated multiplications that is
    executed is at most ``execute_frac``, and falls with the square of what is above it. Decisions are drawn
    with binary Gumbel noise at ``temperature`` and passed through (Jang et al., ICLR 2017) in place of the
    paper's Q-learning.
    """

    after_export: ClassVar[bool] = False
    training: Training
    execute_frac: float = 0.5
    accuracy_weight: float = 0.3
    gate_width: int = 16
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and gates that are no networks; raise ``ValueError``."""
        check_frac("execute_frac", self.execute_frac)
        check_frac("accuracy_weight", self.accuracy_weight)
        if self.gate_width < 1:
            raise ValueError("gate_width must be at least 1")
        if self.temperature <= 0:
            raise ValueError("temperature must be over 0")


ConditionalConfig = EarlyExit | SkipBlocks

CONFIGS: Final[dict[str, type[ConditionalConfig]]] = {"early_exit": EarlyExit, "skip_blocks": SkipBlocks}
