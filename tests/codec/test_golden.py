"""Files written by an earlier version are read as they were meant, on every machine and with every library."""

import numpy as np
import pytest

from trimtab import codec

FILES = {
    "huffman": (
        "545444430100080000008e399bca2d0000000b35afef17000000618930f60b000000e3fa7a4f29000000852d99184b00"
        "00005cdea5216f6b304a7cf2550bb18438a2c511ea1b4bcfcf4949cd030063624c626064612c67649270e036645dc1c8"
        "c200f60423030313031cb020989a0ccc2c2c40c4c2cccccce20d0063c00a1634383034343038342c38b01f08f6d9d983"
        "00006380810660aab177700000eca7b2653d9329ec994f64ca7b2653d9329ec994f64ca7b2653d9329ec994f64ca7b26"
        "53d9329ec98010ebb55f9c21d76abf3843aed57e70875daafce10ebb55f9c21d76abf3843aed57e70875daafce10ebb5"
        "5f9c21d76abf3843aed57e70875daafce10ebb55f9c21d76abf3843aed57e70840"
    ),
    "context": (
        "545444430101080000008e399bca3300000041a876cc17000000618930f60b000000e3fa7a4f480000005dc8d29d4000"
        "00009255924ef05cc50781d288f3f90ac47aa6f0ff314bcfcf4949cd030063624c626064612c67649270e05ec1c8c0c8"
        "b1939189819381918b83b1937132e32bc6ea7ec6bf8c550c0c7f1919308087030063c00a1634383034343038342c38b0"
        "1f08f6d9d98300006380810660aab177700000ca8619ee181a5fd9729f59fc475a417d85fb4c2507fdd51a1f50464ed4"
        "a2a7f9700509450343bb4c88a2dcadfa2b233eaf397488845ebad37105bc8198ad5b92fad93a153e2602306f335b00db"
        "3ac8c9803c8b2c1b4ac11d8e9de2e2519f54defa97a9e211da0cbdef7372bf4232c75ee5250b69f4a45bf1f9671920f5"
        "34fdbedcb465fdace70c3d"
    ),
}


@pytest.mark.parametrize("coder", codec.CODERS)
def test_a_file_of_version_1(coder: str) -> None:
    place = np.arange(24 * 64).reshape(24, 64)
    value = place * 37 % 101 - 5
    weights = np.where(value < 7, value * 0.25, 0).astype(np.float32)
    found = codec.decode(bytes.fromhex(FILES[coder]))
    assert found.skeleton == b"golden"
    assert np.array_equal(found.tensors["b"], np.arange(4, dtype=np.float32))
    assert np.array_equal(found.tensors["w"], weights)
    assert codec.inspect(bytes.fromhex(FILES[coder])).coder == coder
