"""Signals as byte planes of their first difference, which compress better: low and high bytes apart."""

import numpy as np
from numpy.typing import NDArray


def join(low: NDArray[np.uint8], high: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the signal (..., time) whose differences from 0 on have these low and high bytes."""
    difference = (low.astype(np.uint16) | (high.astype(np.uint16) << 8)).view(np.int16)
    return np.cumsum(difference, axis=-1, dtype=np.int16)


def split(signal: NDArray[np.int16]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the low and the high bytes of the differences of a signal (..., time): what ``join`` undoes."""
    bits = np.diff(signal, axis=-1, prepend=np.int16(0)).view(np.uint16)
    return (bits & 0xFF).astype(np.uint8), (bits >> 8).astype(np.uint8)
