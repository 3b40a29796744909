"""Han et al., "Deep Compression" (ICLR 2016): its formula, its figure 2, and canonical codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import codec
from trimtab.codec.huffman import absolute, relative


def test_sixteen_weights_four_clusters() -> None:
    """The paper's worked example: 16 * 32 / (16 * 2 + 4 * 32) = 3.2."""
    assert codec.sharing_ratio(16, 4, 32) == pytest.approx(3.2)
    with pytest.raises(ValueError, match="weights, clusters and bits are 16, 0, 32"):
        codec.sharing_ratio(16, 0, 32)


def test_figure_2() -> None:
    """Entries at 1, 4 and 15 with 3-bit indices: a filler zero 8 after the second, the third 3 after that.

    The paper counts steps from the entry before, the file the pruned weights between: one less.
    """
    symbols = np.zeros(16, np.int32)
    symbols[[1, 4, 15]] = 1, 2, 3
    gaps, codes = relative(symbols, 3)
    assert (gaps + 1).tolist()[1:] == [3, 8, 3]
    assert codes.tolist() == [1, 2, 0, 3]
    assert np.array_equal(absolute(gaps, codes, (16,), "w"), symbols)


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(1, 3)), max_size=20),
    st.integers(1, 8),
    st.integers(0, 40),
)
def test_relative_indices(entries: list[tuple[int, int]], gap_bits: int, tail: int) -> None:
    flat: list[int] = []
    for zeros, code in entries:
        flat += [0] * zeros + [code]
    symbols = np.array(flat + [0] * tail, np.int32)
    gaps, codes = relative(symbols, gap_bits)
    assert gaps.size == 0 or gaps.max() < 1 << gap_bits
    assert gaps.size == sum((zeros >> gap_bits) + 1 for zeros, _ in entries)
    assert np.array_equal(absolute(gaps, codes, symbols.shape, "w"), symbols)


def test_an_entry_beyond_the_end() -> None:
    with pytest.raises(codec.CodecError, match="an entry lies at 9, beyond the 9 weights"):
        absolute(np.array([4, 4]), np.array([1, 1]), (3, 3), "w")


def test_stream_has_the_length_that_huffman_says() -> None:
    """Symbols 1..4 occurring 8, 4, 2, 2 times take 1, 2, 3 and 3 bits: 28 bits; all gaps are 0: one bit each."""
    symbols = np.repeat([1.0, 2.0, 3.0, 4.0], [8, 4, 2, 2]).astype(np.float32)
    data = codec.encode(codec.Artefact(b"", {"w": symbols}, frozenset({"w"})), "huffman", gap_bits=4)
    found = codec.inspect(data)
    assert found.codes_bytes == 4
    assert found.positions_bytes == 2


def test_the_narrow_index_of_the_paper_costs_fillers() -> None:
    rng = np.random.default_rng(0)
    array = np.where(rng.random((200, 200)) < 0.04, rng.integers(1, 9, (200, 200)), 0).astype(np.float32)
    artefact = codec.Artefact(b"", {"w": array}, frozenset({"w"}))
    sizes = {bits: len(codec.encode(artefact, "huffman", gap_bits=bits)) for bits in (2, 3, 8)}
    assert sizes[8] < sizes[3] < sizes[2]
    assert len(codec.encode(artefact, "huffman")) <= 1.01 * sizes[8]
