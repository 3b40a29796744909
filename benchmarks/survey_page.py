"""The survey's figures as values, as JSON, as text and as the document docs/survey.md."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from trimtab_models.errors import FoundryError

FORMAT_VERSION: Final = 1
BARELY: Final = 1.25
"""What is cut by less than this factor counts as barely cut."""


@dataclass(frozen=True, slots=True)
class Method:
    """One of the ten: how its variants' names end, what it acts on, what it does, and whose it is."""

    suffix: str
    group: str
    what: str
    source: str


METHODS: Final = (
    Method("svd", "weight", "dense layers as products of two", "Xue et al., Interspeech 2013"),
    Method("sparsesep", "weight", "dense layers as a dictionary and sparse codes", "Bhattacharya and Lane, SenSys 2016"),
    Method("deep", "weight", "weights pruned, shared and entropy coded", "Han et al., ICLR 2016"),
    Method("hashed", "weight", "only neurons that hash like their input are active", "Spring and Shrivastava, KDD 2017"),
    Method("tucker", "convolution", "convolutions as Tucker-2 factors, ranks by VBMF", "Kim et al., ICLR 2016"),
    Method("lasso", "convolution", "kernels driven to zero by a group lasso", "Liu et al., CVPR 2015"),
    Method("random", "convolution", "outputs see fixed random inputs", "Changpinyo et al., 2017"),
    Method("separable", "convolution", "depthwise and 1x1 convolutions", "Howard et al., MobileNets, 2017"),
    Method("fire", "layer", "Fire modules", "Iandola et al., SqueezeNet, 2016"),
    Method("mlpconv", "layer", "1x1 convolutions and global average pooling", "Lin et al., Network in Network, ICLR 2014"),
)  # fmt: skip
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    group: tuple(method.suffix for method in METHODS if method.group == group)
    for group in ("weight", "convolution", "layer")
}


@dataclass(frozen=True, slots=True)
class Row:
    """One variant in the six metrics; ``method`` is "" for the network that all methods start from.

    ``macs`` are multiplied by the artefact as it runs, ``needed_macs`` leave out weights of zero and inactive
    neurons (``None``: not counted). ``latency_ratio`` is to the base in the same run. ``energy_uj`` is the
    machine's meter or power model times the latency.
    """

    method: str
    variant: str
    sha256: tuple[str, ...]
    accuracy_frac: float
    accuracy_interval_frac: tuple[float, float]
    parameters: int
    nonzero_parameters: int
    artefact_bytes: int
    peak_feature_bytes: int
    macs: int
    needed_macs: int | None
    hash_additions: int
    latency_us_p50: float
    latency_ratio: float
    energy_45nm_uj: float | None
    energy_uj: float
    energy_source: str


@dataclass(frozen=True, slots=True)
class TaskResult:
    """All rows of one task, the base first, and the machine that measured them."""

    task: str
    title: str
    dataset: str
    test_samples: int
    runs: int
    machine: dict[str, Any]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A conclusion of the survey, checked on one task: each method's factor, and who contradicts it."""

    claim: str
    factors: dict[str, float]

    @property
    def exceptions(self) -> tuple[str, ...]:
        """Return the methods that cut more than barely."""
        return tuple(name for name, factor in self.factors.items() if factor >= BARELY)

    @property
    def holds(self) -> bool:
        """Return whether no method contradicts the claim."""
        return not self.exceptions


CLAIMS: Final[Mapping[str, tuple[str, Callable[[Row], float]]]] = {
    "methods for weights barely cut latency": ("weight", lambda row: row.latency_ratio),
    "methods for convolutions barely cut size": ("convolution", lambda row: row.nonzero_parameters),
}


def findings(result: TaskResult) -> tuple[Finding, ...]:
    """Return whether the survey's conclusions hold on a task: base / variant, method by method."""
    base = result.rows[0]
    return tuple(
        Finding(
            claim,
            {row.method: round(of(base) / of(row), 3) for row in result.rows if row.method in GROUPS[group]},
        )
        for claim, (group, of) in CLAIMS.items()
    )


def as_json(results: Iterable[TaskResult]) -> dict[str, Any]:
    """Return everything as JSON values."""
    tasks = [
        {
            **msgspec.to_builtins(result),
            "findings": [
                {"claim": f.claim, "holds": f.holds, "factors": f.factors, "exceptions": list(f.exceptions)}
                for f in findings(result)
            ],
        }
        for result in results
    ]
    return {"format_version": FORMAT_VERSION, "barely": BARELY, "tasks": tasks}


def from_json(path: Path) -> list[TaskResult]:
    """Return recorded figures; raise ``FoundryError`` naming the file."""
    try:
        held = msgspec.json.decode(path.read_bytes())
        if held.get("format_version") != FORMAT_VERSION:
            raise FoundryError(
                f"{path}: format_version is {held.get('format_version')!r}, not {FORMAT_VERSION}"
            )
        return msgspec.convert(held.get("tasks", []), list[TaskResult])
    except OSError as error:
        raise FoundryError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise FoundryError(f"{path}: {error}") from error


HEAD: Final = (
    "variant", "accuracy % (95 %)", "parameters", "not zero", "file bytes", "peak feature bytes", "MACs",
    "needed MACs", "p50 us", "ratio", "45 nm uJ", "uJ",
)  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    low, high = (100 * bound for bound in row.accuracy_interval_frac)
    return (
        row.variant,
        f"{100 * row.accuracy_frac:.2f} ({low:.2f}-{high:.2f})",
        f"{row.parameters:,}",
        f"{row.nonzero_parameters:,}",
        f"{row.artefact_bytes:,}",
        f"{row.peak_feature_bytes:,}",
        f"{row.macs:,}",
        "-" if row.needed_macs is None else f"{row.needed_macs:,}",
        f"{row.latency_us_p50:.1f}",
        f"{row.latency_ratio:.2f}",
        "-" if row.energy_45nm_uj is None else f"{row.energy_45nm_uj:.2f}",
        f"{row.energy_uj:.0f}",
    )


def _told(finding: Finding) -> str:
    factors = ", ".join(f"{name} {factor:.2f}x" for name, factor in finding.factors.items())
    return f"{finding.claim}: {str(finding.holds).lower()} ({factors})"


def _machine(result: TaskResult) -> str:
    machine = result.machine
    return f"{machine['cpu']}, {machine['system']}, {machine['runtime']}, 1 thread, batch 1, {result.runs:,} runs each"


def text(results: Iterable[TaskResult]) -> str:
    """Return plain tables."""
    lines: list[str] = []
    for result in results:
        lines += [
            "",
            f"{result.task}: {result.title}; {result.dataset}, {result.test_samples:,} test samples",
        ]
        lines.append(f"  {_machine(result)}")
        table = [HEAD, *(_cells(row) for row in result.rows)]
        widths = [max(len(cells[at]) for cells in table) for at in range(len(HEAD))]
        for cells in table:
            numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
            lines.append("  " + "  ".join([cells[0].ljust(widths[0]), *numbers]))
        lines += [f"  {_told(finding)}" for finding in findings(result)]
    return "\n".join([*lines, "", f"  barely: by less than a factor of {BARELY}; base divided by variant"])


def markdown(results: Sequence[TaskResult]) -> str:
    """Return the whole document."""
    methods = [f"| `-{m.suffix}` | {m.group} | {m.what} | {m.source} |" for m in METHODS]
    parts = [INTRODUCTION, "\n".join([METHOD_HEAD, *methods]), COLUMNS, CONCLUSION, _conclusions(results)]
    return "\n\n".join([*parts, *(_section(result) for result in results)]) + "\n"


def _conclusions(results: Sequence[TaskResult]) -> str:
    lines = ["| task | conclusion | measured | by method |", "|---|---|---|---|"]
    for result in results:
        for finding in findings(result):
            factors = ", ".join(f"{name} {factor:.2f}x" for name, factor in finding.factors.items())
            lines.append(f"| {result.task} | {finding.claim} | {str(finding.holds).lower()} | {factors} |")
    return "\n".join(lines)


def _section(result: TaskResult) -> str:
    lines = [
        f"## {result.task}",
        "",
        f"{result.title}: {result.dataset}, {result.test_samples:,} test samples.",
        "",
    ]
    lines += [f"| {' | '.join(HEAD)} |", "|---|" + "---:|" * (len(HEAD) - 1)]
    for row in result.rows:
        name, *cells = _cells(row)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += ["", f"Measured on {_machine(result)}. uJ: {_source(result)}."]
    hashed = next((row for row in result.rows if row.hash_additions), None)
    if hashed:
        lines += [
            "",
            f"`{hashed.variant}` also takes {hashed.hash_additions:,} additions per sample to hash its inputs.",
        ]
    return "\n".join(lines)


def _source(result: TaskResult) -> str:
    return f"{result.rows[0].energy_source}, {result.machine['power_model']}"


INTRODUCTION: Final = """# Ten compression methods, four tasks, six metrics

Generated by `python benchmarks/survey.py --write docs/survey.md`; do not edit. `--tasks digits` measures one task anew
and leaves the others as they are. The figures are in [survey.json](survey.json).

Nan, Liu, Du and Liu ([Deep model compression for mobile platforms: a survey](https://doi.org/10.26599/TST.2018.9010103),
Tsinghua Science and Technology 24(6), 2019) compared ten methods on four recognition tasks by accuracy, parameter
size, intermediate feature size, computation, latency and energy. This is such a comparison on the families of this
repository. Which ten they were is inferred from the survey's references; its tables were not at hand. Every method starts from the same trained
network of its task; `family.yaml` in the family's folder has the recipes. Accuracies are those of the artefacts
on the whole test set."""

METHOD_HEAD: Final = """| variant | acts on | method | source |
|---|---|---|---|"""

COLUMNS: Final = """- *accuracy*: with its 95 % interval (Wilson).
- *parameters*, *not zero*: numbers stored in the artefact; of a hashed network also its tables and projections.
- *peak feature bytes*: the most bytes of intermediate tensors alive at once, without weights.
- *MACs*: multiply-accumulates as the artefact runs. *needed MACs* leave out weights of zero and, of a hashed network,
  neurons that are not active (the mean over the test set): what an executor that skips them would multiply. ONNX
  Runtime skips none.
- *p50 us*, *ratio*: median latency of one sample, and that divided by the plain network's in the same run; below 1 is
  faster. All variants of a task take turns. On another machine the ratios are the part to compare.
- *45 nm uJ*: energy of operations and memory accesses, counted ([families](families.md)). *uJ*: energy above idle on the
  machine that measured; where that is a power model it is the latency times a constant and adds nothing to it."""

CONCLUSION: Final = f"""Of the three families of methods it is said that those for weights save parameters and barely cut latency, and that
those for convolutions save work and barely cut size. Measured here, taking *barely* as by less than a factor of {BARELY}: the
plain network's figure divided by the variant's, latency for the former, parameters that are not zero for the latter.
*true*: no method of the family contradicts it."""
