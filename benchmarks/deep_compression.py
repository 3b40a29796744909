"""Deep Compression of LeNet-300-100 and LeNet-5 on MNIST (Han, Mao and Dally, ICLR 2016), byte by byte.

Run ``python benchmarks/deep_compression.py [--json] [--families models/families]``. The whole test set is answered
by the dense networks and by the compressed ones, decoded from their artefacts, of the family ``digits``. Each
compressed network's weights are written again with the other coder, so that both are seen on the same weights.

Ratios divide the dense network's parameters at 4 bytes each by the whole file: header, network description,
checksums and all. Parameters include the two numbers that normalise the input. ``weights only`` leaves out header and network description, as the paper does. Deflate's preset
dictionary is part of the format, not of the file, and not counted; ``no dictionary`` is the file without its help.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import weight_coders

import families
from families import Chain, Shipped
from trimtab import codec
from trimtab.codec.container import WORDS
from trimtab.domain.accuracy import wilson_interval
from trimtab.domain.family import Variant
from trimtab_models.errors import FoundryError
from trimtab_models.measure import PACKED

TASK: Final = "digits"
FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the paper: its variants here, what the paper reached, and what is asked of each coder."""

    title: str
    dense: str
    packed: tuple[str, ...]
    anchor: str
    least_ratio: dict[str, float]


NETWORKS: Final = (
    Network(
        "LeNet-300-100", "lenet300", ("lenet300-huffman", "lenet300-deep"),
        "1,070 KB to 27 KB, 40x; error 1.64 to 1.58 %", {"huffman": 40.0, "context": 40.0},
    ),
    Network(
        "LeNet-5", "lenet5", ("lenet5-huffman", "lenet5-deep"),
        "1,720 KB to 44 KB, 39x; error 0.80 to 0.74 %", {"huffman": 39.0, "context": 60.0},
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coded:
    """One coder's file of a network's weights; ``shipped`` if it is the artefact, not made here."""

    coder: str
    shipped: bool
    file_bytes: int
    parts_bytes: dict[str, int]
    ratio: float
    weights_only_ratio: float
    no_dictionary_bytes: int
    no_dictionary_ratio: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Answers:
    """How often a variant is wrong on the test set, and how long its artefact takes to load."""

    variant: str
    errors: int
    error_frac: float
    error_interval_frac: tuple[float, float]
    load_ms: float


@dataclass(frozen=True, slots=True)
class Packed:
    """A compressed variant: its answers and what its weights take."""

    answers: Answers
    parameters: int
    nonzero_parameters: int
    codebook_values: dict[str, int]
    coded: tuple[Coded, ...]
    compressed_floats_bytes: dict[str, int]
    compressed_gaps_bytes: dict[str, int]
    bounds_bytes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is asked of one coder and what was measured: the best file whose error is not above the dense net's."""

    coder: str
    least_ratio: float
    ratio: float | None
    variant: str
    met: bool


@dataclass(frozen=True, slots=True)
class Result:
    """All figures of one network."""

    network: str
    anchor: str
    test_samples: int
    dense: Answers
    dense_parameters: int
    dense_bytes: int
    packed: tuple[Packed, ...]
    verdicts: tuple[Verdict, ...]


def measure(shipped: Shipped, network: Network) -> Result:
    """Return the figures of one network; raise ``FoundryError`` if the family lacks it."""
    names = [name for name in network.packed if shipped.has(name)]
    if not shipped.has(network.dense) or not names:
        raise FoundryError(f"{shipped.folder}: the family needs {network.dense} and {' or '.join(network.packed)}; build it: trimtab family build {shipped.family.task}")  # fmt: skip
    answered = answers(shipped, [network.dense, *names])
    parameters = shipped.family.variant(network.dense).parameters
    packed = tuple(_packed(shipped, found, parameters * FLOAT_BYTES) for found in answered[1:])
    return Result(
        network=network.title,
        anchor=network.anchor,
        test_samples=len(shipped.test),
        dense=answered[0],
        dense_parameters=parameters,
        dense_bytes=parameters * FLOAT_BYTES,
        packed=packed,
        verdicts=verdicts(network, answered[0], packed),
    )


def answers(shipped: Shipped, names: Sequence[str]) -> list[Answers]:
    """Run the test set through each variant; load them in turns."""
    variants = [shipped.family.variant(name) for name in names]
    load_ms = _load_ms(shipped.folder, variants)
    found = []
    for variant, taken_ms in zip(variants, load_ms, strict=True):
        right = shipped.right(Chain.open(shipped.folder, variant))
        errors = int((~right).sum())
        error_frac = errors / len(right)
        interval = wilson_interval(error_frac, len(right))
        found.append(Answers(variant.name, errors, error_frac, interval, taken_ms))
    return found


def _load_ms(folder: Path, variants: Sequence[Variant]) -> list[float]:
    """Return for each variant the median milliseconds from file to session; the first turn does not count."""
    taken: list[list[float]] = [[] for _ in variants]
    for turn in range(weight_coders.REPEATS + 1):
        for times, variant in zip(taken, variants, strict=True):
            began_ns = time.perf_counter_ns()
            Chain.open(folder, variant)
            if turn:
                times.append((time.perf_counter_ns() - began_ns) / 1e6)
    return [float(np.median(times)) for times in taken]


def _packed(shipped: Shipped, answered: Answers, dense_bytes: int) -> Packed:
    variant = shipped.family.variant(answered.variant)
    if variant.format != PACKED or len(variant.stages) != 1:
        raise FoundryError(f"{shipped.folder}: {variant.name} is not one Deep Compression artefact")
    data = (shipped.folder / variant.stages[0].artefact).read_bytes()
    found, artefact = codec.inspect(data), codec.decode(data)
    others = [coder for coder in codec.CODERS if coder != found.coder]
    coded = [_coded(data, True, dense_bytes)]
    coded += [_coded(weight_coders.recoded(data, coder), False, dense_bytes) for coder in others]
    return Packed(
        answers=answered,
        parameters=found.parameters,
        nonzero_parameters=found.nonzero_parameters,
        codebook_values={tensor.name: tensor.codebook for tensor in found.tensors if tensor.codebook},
        coded=tuple(coded),
        compressed_floats_bytes=weight_coders.compressed_floats(artefact),
        compressed_gaps_bytes=weight_coders.compressed_gaps(artefact),
        bounds_bytes=weight_coders.bounds(artefact),
    )


def _coded(data: bytes, shipped: bool, dense_bytes: int) -> Coded:
    found = codec.inspect(data)
    plain = weight_coders.without_words(data)
    return Coded(
        coder=found.coder,
        shipped=shipped,
        file_bytes=len(data),
        parts_bytes=weight_coders.parts(found),
        ratio=dense_bytes / len(data),
        weights_only_ratio=dense_bytes / (len(data) - found.header_bytes - found.skeleton_bytes),
        no_dictionary_bytes=plain,
        no_dictionary_ratio=dense_bytes / plain,
        decode_ms=weight_coders.decode_ms(data),
    )


def verdicts(network: Network, dense: Answers, packed: Sequence[Packed]) -> tuple[Verdict, ...]:
    """Return per coder whether a network no worse than the dense one is small enough.

    Our coder must also beat the paper's on some such network's weights.
    """
    able = [one for one in packed if one.answers.errors <= dense.errors]
    best = {
        coder: max(
            (
                (coded.ratio, one.answers.variant)
                for one in able
                for coded in one.coded
                if coded.coder == coder
            ),
            default=(None, ""),
        )
        for coder in codec.CODERS
    }
    paper = best["huffman"][0]
    found = []
    for coder, least in network.least_ratio.items():
        ratio, variant = best[coder]
        met = ratio is not None and ratio >= least
        if coder == "context":
            met = met and ratio is not None and paper is not None and ratio > paper
        found.append(Verdict(coder, least, ratio, variant, met))
    return tuple(found)


def show(result: Result) -> None:
    """Print one network."""
    print(f"\n{result.network} on MNIST, {result.test_samples:,} test samples; paper: {result.anchor}")
    print(f"  {result.dense_parameters:,} parameters, {result.dense_bytes:,} bytes as float32")
    _show_answers(result.dense)
    for packed in result.packed:
        _show_packed(packed)
    for verdict in result.verdicts:
        ratio = "none is as good as the dense network" if verdict.ratio is None else f"{verdict.ratio:.1f}x ({verdict.variant})"  # fmt: skip
        beats = " and more than huffman" if verdict.coder == "context" else ""
        met = "met" if verdict.met else "MISSED"
        print(f"  error not above the dense network's, {verdict.coder}: at least {verdict.least_ratio:g}x{beats}: {ratio}: {met}")  # fmt: skip


def _show_answers(found: Answers) -> None:
    low, high = found.error_interval_frac
    print(f"  {found.variant:<18} error {100 * found.error_frac:.2f} % (95 %: {100 * low:.2f}-{100 * high:.2f}), loaded in {found.load_ms:.1f} ms")  # fmt: skip


def _show_packed(packed: Packed) -> None:
    _show_answers(packed.answers)
    left = packed.nonzero_parameters / packed.parameters
    books = ", ".join(f"{name} {values}" for name, values in packed.codebook_values.items())
    print(f"    {packed.nonzero_parameters:,} of {packed.parameters:,} left ({100 * left:.1f} %); values: {books}")  # fmt: skip
    columns = [*weight_coders.PARTS, "file", "ratio", "weights only", "no dictionary", "decode ms"]
    print(f"    {'bytes':<24}" + "".join(f"{column:>14}" for column in columns))
    for coded in packed.coded:
        label = f"{coded.coder}, {'shipped' if coded.shipped else 'same weights'}"
        cells = [f"{coded.parts_bytes[part]:,}" for part in weight_coders.PARTS]
        cells += [f"{coded.file_bytes:,}", f"{coded.ratio:.1f}x", f"{coded.weights_only_ratio:.1f}x"]
        cells += [f"{coded.no_dictionary_ratio:.1f}x", f"{coded.decode_ms:.1f}"]
        print(f"    {label:<24}" + "".join(f"{cell:>14}" for cell in cells))
    bound = packed.bounds_bytes
    print(f"    entropy of gaps {bound['gaps']:,}, of codes {bound['codes']:,}; of positions at one density {bound['positions']:,} bytes, tables not counted")  # fmt: skip
    print(f"    gaps and codes as bytes: {_sizes(packed.compressed_gaps_bytes)}")
    print(f"    float32 with its zeros: {_sizes(packed.compressed_floats_bytes)}")


def _sizes(found: dict[str, int]) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--families", type=Path, default=families.FAMILIES)
    parser.add_argument("--samples", type=int, default=0, help="only the first test samples; 0: all")
    arguments = parser.parse_args()
    shipped = families.load(arguments.families / TASK, arguments.samples)
    results = [measure(shipped, network) for network in NETWORKS]
    if arguments.json:
        told = {"preset_dictionary_bytes": len(WORDS), "networks": [asdict(result) for result in results]}
        print(json.dumps(told, indent=1))
        return
    for result in results:
        show(result)
    print(f"\n  deflate's preset dictionary ({len(WORDS):,} bytes) is part of the format and in no file; 'no dictionary' is the file without its help")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(families.reported(main))
