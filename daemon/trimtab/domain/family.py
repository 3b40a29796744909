"""What is served: a task's family of variants, as a manifest describes it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trimtab.domain.quantities import Source


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, Open Inference datatype (``FP32`` ...) and shape of one input or output; -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExitRule:
    """When a staged variant stops: at the first exit whose confidence (max softmax) reaches ``threshold``.

    ``share_frac[e]`` is the share of samples that leave at exit ``e`` under this threshold (sums to 1).
    ``accuracy_frac[e]`` is the accuracy over all samples when whoever has not left before exit ``e`` is
    answered there: the staircase of ALERT (ATC'20, section 3.3). The last entry is the rule's accuracy.
    A variant with one stage has one rule: ``ExitRule("full", 0.0, (1.0,), (accuracy,))``.
    """

    name: str
    threshold: float
    share_frac: tuple[float, ...]
    accuracy_frac: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One runnable piece of a variant: an artefact file, relative to the family's folder.

    Every stage takes its inputs by name from the request's tensors or from what earlier stages returned.
    Each stage returns the logits of its exit under ``logits`` and, except the last, hidden tensors.

    ``macs`` multiply zeros too, ``nonzero_macs`` leave out those with a weight of zero. ``weight_bytes`` are
    the weights as the runtime holds them, ``traffic_bytes`` what one sample writes and reads of intermediate
    tensors. A zero in one of the last three stands for "not counted": manifests before these fields.
    """

    artefact: str
    sha256: str
    artefact_bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logits: str
    macs: int
    peak_activation_bytes: int
    nonzero_macs: int = 0
    weight_bytes: int = 0
    traffic_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Variant:
    """One compressed network of a family; accuracy is measured on the whole test set.

    ``dominated`` says which other variant is better in every trade-off and by how much; empty while there is
    none, or while nobody has compared.
    """

    name: str
    transforms: tuple[str, ...]
    stages: tuple[Stage, ...]
    exit_rules: tuple[ExitRule, ...]
    accuracy_frac: float
    parameters: int
    nonzero_parameters: int
    precision: str
    format: str = "onnx"
    note: str = ""
    dominated: str = ""

    @property
    def kept(self) -> bool:
        """Return whether no other variant makes this one pointless."""
        return not self.dominated

    @property
    def artefact_bytes(self) -> int:
        """Return the bytes on disk of all stages together."""
        return sum(stage.artefact_bytes for stage in self.stages)

    @property
    def macs(self) -> int:
        """Return multiply-accumulates of all stages (the worst case of an early-exit variant)."""
        return sum(stage.macs for stage in self.stages)

    def expected_macs(self, rule: ExitRule) -> float:
        """Return the mean multiply-accumulates of a sample under an exit rule of this variant."""
        return expected_cost(rule, [stage.macs for stage in self.stages])

    @property
    def nonzero_macs(self) -> int:
        """Return multiply-accumulates of all stages with a weight that is not zero; 0 where not counted."""
        counted = [stage.nonzero_macs for stage in self.stages]
        return sum(counted) if all(counted) else 0

    @property
    def peak_activation_bytes(self) -> int:
        """Return the largest sum of live intermediate tensors in any stage, batch 1."""
        return max(stage.peak_activation_bytes for stage in self.stages)


def expected_cost(rule: ExitRule, stage_costs: Sequence[float]) -> float:
    """Return the mean cost of a sample that runs stages until ``rule`` lets it leave."""
    reached, expected = 1.0, 0.0
    for share, cost in zip(rule.share_frac, stage_costs, strict=True):
        expected += reached * cost
        reached = max(0.0, reached - share)
    return expected


@dataclass(frozen=True, slots=True)
class Profile:
    """Measured behaviour of one variant on one processor, batch 1.

    ``stage_latency_ns`` are medians, ``latency_spread`` the standard deviation of ln(latency),
    ``stage_energy_uj`` the energy above idle of each stage.
    """

    variant: str
    processor: str
    stage_latency_ns: tuple[int, ...]
    latency_spread: float
    stage_energy_uj: tuple[float, ...]
    load_ns: int
    load_energy_uj: float
    resident_bytes: int
    latency_ns_p95: int = 0
    latency_source: Source = Source.ASSUMED
    energy_source: Source = Source.ASSUMED
    memory_source: Source = Source.ASSUMED


@dataclass(frozen=True, slots=True)
class Machine:
    """On which machine a set of profiles was measured, and with what."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    runtime: str
    power_model: str


@dataclass(frozen=True, slots=True)
class ProfileSet:
    """All profiles of one task measured on one machine."""

    task: str
    machine: Machine
    profiles: tuple[Profile, ...]
    format_version: int = 1


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data a family was trained and tested on."""

    name: str
    licence: str
    source: str
    train_samples: int
    test_samples: int


@dataclass(frozen=True, slots=True)
class Family:
    """All variants of one task: the content of ``manifest.json``.

    ``reference`` names the uncompressed variant. ``last_resort`` names the one that stays resident.
    ``profiles`` are those of the machine that built the family; a device measures its own.
    """

    task: str
    title: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    reference: str
    last_resort: str
    dataset: Dataset
    preprocessing: str = ""
    samples: str = "samples.npz"
    profiles: ProfileSet | None = None
    format_version: int = 1

    def variant(self, name: str) -> Variant:
        """Return the variant called ``name``; raise ``KeyError`` naming those that exist."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        known = ", ".join(v.name for v in self.variants)
        raise KeyError(f"task {self.task!r} has no variant {name!r}; it has: {known}")

    def offered(self) -> "Family":
        """Return the family without dominated variants; reference and last resort always stay."""
        stays = {self.reference, self.last_resort}
        return replace(self, variants=tuple(v for v in self.variants if v.kept or v.name in stays))
