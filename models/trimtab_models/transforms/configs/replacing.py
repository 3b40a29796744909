"""Settings of the transforms that put another, usually cheaper, structure in a layer's or network's place."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from trimtab_models.architectures.configs import ArchitectureConfig
from trimtab_models.settings import Training, check_frac


@dataclass(frozen=True, slots=True)
class Distill:
    """Train a student on the softened answers of the reference (Hinton et al., 2015).

    Without ``architecture`` the network as it is (say, pruned) is the student. ``training.teacher_frac`` is
    what it listens to the reference, so it must be over 0.
    """

    after_export: ClassVar[bool] = False
    training: Training
    architecture: ArchitectureConfig | None = None

    def __post_init__(self) -> None:
        """Refuse a teacher nobody listens to; raise ``ValueError``."""
        check_frac("training.teacher_frac", self.training.teacher_frac)


@dataclass(frozen=True, slots=True)
class DepthwiseSeparable:
    """Replace k x k convolutions by a depthwise and a 1x1 convolution (MobileNets, 2017); then retrain.

    They start as the best such pair for the kernel they replace. ``activation`` puts batch norm and ReLU
    between the two, as MobileNet has it; without, they can be trained on from where they start.
    The first convolution stays, and those of three input channels or fewer.
    """

    after_export: ClassVar[bool] = False
    training: Training | None = None
    activation: bool = False


@dataclass(frozen=True, slots=True)
class Fire:
    """Replace k x k convolutions by Fire modules (SqueezeNet, 2016); then train them from scratch.

    A module of T outputs squeezes to ``squeeze_frac`` x T channels and expands them by T / 2 1x1 and T / 2
    k x k filters. The first convolution stays, those of three input channels or fewer, and those that would
    not get smaller.
    """

    after_export: ClassVar[bool] = False
    training: Training
    squeeze_frac: float = 0.125

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1; raise ``ValueError``."""
        check_frac("squeeze_frac", self.squeeze_frac)


@dataclass(frozen=True, slots=True)
class MlpConv:
    """Follow each k x k convolution by two 1x1 ones, end in global average pooling (Network in Network, 2014).

    The dense layers that would read a flattened map go. That is what saves parameters; the convolutions get
    dearer.
    """

    after_export: ClassVar[bool] = False
    training: Training


@dataclass(frozen=True, slots=True)
class RandomChannels:
    """Let each output channel see a random ``keep_frac`` of the inputs, fixed (Changpinyo et al., 2017).

    With ``groups`` the outputs of one group see the same inputs: the layer is then a gather and a grouped
    convolution that does less work in any runtime; without, the weights are zeros in a dense kernel.
    The first convolution stays, and those of three input channels or fewer.
    """

    after_export: ClassVar[bool] = False
    keep_frac: float
    groups: int = 0
    training: Training | None = None

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1 and negative groups; raise ``ValueError``."""
        check_frac("keep_frac", self.keep_frac)
        if self.groups < 0:
            raise ValueError("groups must be at least 0")


@dataclass(frozen=True, slots=True)
class GroupLasso:
    """Train with a group lasso that drives groups of weights to zero, remove them, ``retraining`` the rest.

    ``groups``: ``channels`` are all weights that read one channel (Wen et al., 2016), removed with whatever
    computes it; ``kernels`` are single k x k slices and single dense weights (after Liu et al., 2015), left as
    zeros. At the peak learning rate a step takes ``strength`` off the root mean square of every group, except
    of the largest ``keep_frac`` of a layer. Channels remain in multiples of ``round_to``.
    """

    after_export: ClassVar[bool] = False
    strength: float
    training: Training
    retraining: Training | None = None
    groups: Literal["channels", "kernels"] = "channels"
    keep_frac: float = 0.25
    round_to: int = 1

    def __post_init__(self) -> None:
        """Refuse fractions outside 0..1, no strength and no rounding; raise ``ValueError``."""
        check_frac("keep_frac", self.keep_frac)
        if self.strength <= 0:
            raise ValueError("strength must be over 0")
        if self.round_to < 1:
            raise ValueError("round_to must be at least 1")


ReplacingConfig = Distill | DepthwiseSeparable | Fire | MlpConv | RandomChannels | GroupLasso

CONFIGS: Final = {
    "distill": Distill,
    "depthwise_separable": DepthwiseSeparable,
    "fire": Fire,
    "mlpconv": MlpConv,
    "random_channels": RandomChannels,
    "group_lasso": GroupLasso,
}
