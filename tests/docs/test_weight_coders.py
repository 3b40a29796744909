"""benchmarks/deep_compression.py: the arithmetic behind what it prints."""

from dataclasses import replace
from pathlib import Path

import deep_compression
import numpy as np
import pytest
import weight_coders
from deep_compression import NETWORKS, Answers, Coded, Packed

import families
from families import Shipped
from trimtab import codec
from trimtab.ports import Array
from trimtab_models.errors import FoundryError
from trimtab_models.family import read_manifest, read_samples


def artefact(weights: Array) -> codec.Artefact:
    tensors = {"weights": weights.astype(np.float32), "bias": np.ones(3, np.float32)}
    return codec.Artefact(b"a network" * 20, tensors, frozenset({"weights"}))


def test_bounds_by_hand() -> None:
    """Of each 6 weights 4 are left: gaps 1, 1, 0, 0 and codes 0, 1, 0, 1, one bit per symbol.

    48 positions take H(2/3) = 0.918 bits each.
    """
    weights = np.tile([0, -0.5, 0, 0.5, -0.5, 0.5], (8, 1))
    assert weight_coders.bounds(artefact(weights)) == {"gaps": 4, "codes": 4, "positions": 6}


def test_gaps_above_the_escape_are_not_lost() -> None:
    far = np.zeros((1, 1024))
    far[0, 600] = 1.0
    sizes = weight_coders.compressed_gaps(artefact(far))
    near = weight_coders.compressed_gaps(artefact(np.eye(1, 1024)))
    assert sizes["deflate"] > near["deflate"]


@pytest.mark.parametrize("coder", codec.CODERS)
def test_parts_add_up_and_the_dictionary_only_helps(coder: str) -> None:
    chance = np.random.default_rng(0)
    weights = chance.integers(-2, 3, (40, 50)) * (chance.random((40, 50)) < 0.2) * 0.25
    data = codec.encode(artefact(weights), coder)
    assert sum(weight_coders.parts(codec.inspect(data)).values()) == len(data)
    assert weight_coders.without_words(data) >= len(data)


def test_without_words_finds_what_the_dictionary_saved() -> None:
    from trimtab.codec.container import WORDS

    given = codec.Artefact(WORDS[:400], {"w": np.ones(8, np.float32)})
    data = codec.encode(given)
    saved = weight_coders.without_words(data) - len(data)
    assert saved > 100
    assert weight_coders.without_words(codec.encode(replace(given, skeleton=bytes(400)))) - len(data) < saved


def test_recoding_keeps_every_bit() -> None:
    given = artefact(np.eye(20))
    shorter = weight_coders.recoded(codec.encode(given, "context"), "huffman")
    assert codec.inspect(shorter).coder == "huffman"
    assert codec.decode(shorter).tensors["weights"].tobytes() == given.tensors["weights"].tobytes()


def coded(coder: str, ratio: float) -> Coded:
    return Coded(coder, True, 1, {}, ratio, ratio, 1, ratio, 1.0)


def packed(name: str, errors: int, huffman: float, context: float) -> Packed:
    answers = Answers(name, errors, errors / 1e4, (0.0, 1.0), 1.0)
    return Packed(answers, 1, 1, {}, (coded("huffman", huffman), coded("context", context)), {}, {}, {})


DENSE = Answers("lenet300", 160, 0.016, (0.0, 1.0), 1.0)


def test_verdicts_leave_out_networks_that_are_worse() -> None:
    good, worse = packed("good", 160, 41.0, 45.0), packed("worse", 161, 90.0, 99.0)
    huffman, context = deep_compression.verdicts(NETWORKS[0], DENSE, [good, worse])
    assert (huffman.ratio, huffman.variant, huffman.met) == (41.0, "good", True)
    assert (context.ratio, context.met) == (45.0, True)


@pytest.mark.parametrize(
    ("huffman", "context", "met"),
    [(39.9, 45.0, (False, True)), (44.0, 43.0, (True, False)), (30.0, 31.0, (False, False))],
)
def test_verdicts_can_fail(huffman: float, context: float, met: tuple[bool, bool]) -> None:
    found = deep_compression.verdicts(NETWORKS[0], DENSE, [packed("one", 100, huffman, context)])
    assert tuple(one.met for one in found) == met


def test_no_network_is_good_enough() -> None:
    found = deep_compression.verdicts(NETWORKS[1], DENSE, [packed("one", 200, 99.0, 99.0)])
    assert [(one.ratio, one.met) for one in found] == [(None, False), (None, False)]


@pytest.fixture(scope="module")
def fashion() -> Shipped:
    folder = families.FAMILIES / "fashion"
    return Shipped(folder, read_manifest(folder), read_samples(folder / "samples.npz"), "image")


def test_missing_networks_are_named(fashion: Shipped) -> None:
    with pytest.raises(FoundryError, match=r"needs lenet5 and lenet5-huffman or lenet5-deep"):
        deep_compression.measure(fashion, NETWORKS[1])


@pytest.mark.build
def test_measuring_a_shipped_network_packed_here(fashion: Shipped, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from trimtab_models.compress import compress_onnx

    model = onnx.load(fashion.folder / "student-tiny.onnx")
    for one in model.graph.initializer:
        if len(one.dims) > 1:
            weights = onnx.numpy_helper.to_array(one)
            step = np.abs(weights).max() / 16
            kept = np.where(np.abs(weights) > 1.5 * step, np.rint(weights / step) * step, 0)
            one.CopyFrom(onnx.numpy_helper.from_array(kept.astype(np.float32), one.name))
    dense, data = model.SerializeToString(), compress_onnx(model.SerializeToString())
    (tmp_path / "net.onnx").write_bytes(dense)
    (tmp_path / "net.ttdc").write_bytes(data)
    known = fashion.family.variant("student-tiny")
    (stage,) = known.stages
    variants = (
        replace(known, name="net", stages=(replace(stage, artefact="net.onnx"),)),
        replace(
            known,
            name="net-deep",
            format="deep-compression",
            stages=(replace(stage, artefact="net.ttdc"),),
        ),
    )
    shipped = Shipped(tmp_path, replace(fashion.family, variants=variants), fashion.test, "image")
    asked = replace(
        NETWORKS[0], dense="net", packed=("net-deep",), least_ratio={"huffman": 2.0, "context": 2.0}
    )
    result = deep_compression.measure(shipped, asked)
    (found,) = result.packed
    assert found.answers.errors == result.dense.errors
    ours, paper = found.coded
    assert (ours.coder, ours.shipped, ours.file_bytes) == ("context", True, len(data))
    assert (paper.coder, paper.shipped) == ("huffman", False)
    assert ours.ratio == pytest.approx(4 * known.parameters / len(data))
    assert found.compressed_floats_bytes["xz"] < result.dense_bytes
    assert [one.met for one in result.verdicts] == [True, ours.ratio > paper.ratio]
