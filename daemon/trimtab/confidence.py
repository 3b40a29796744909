"""How sure an exit is of its answer."""

import numpy as np

from trimtab.ports import Array


def confidence_of(logits: Array) -> float:
    """Return the max softmax of (N, C) logits; for a batch that of its least certain sample."""
    values = np.asarray(logits, dtype=np.float32).reshape(-1, logits.shape[-1])
    top = values.max(axis=1, keepdims=True)
    return float((1.0 / np.exp(values - top).sum(axis=1)).min())
