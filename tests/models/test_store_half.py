"""Weights stored in 16 bits: half the file, the same network but for the rounding."""

from typing import Any

import numpy as np
import pytest

from trimtab_models.errors import FoundryError
from trimtab_models.transforms.configs import StoreHalf

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from torch import nn  # noqa: E402  after the guard

from trimtab_models.export import Exported, export  # noqa: E402
from trimtab_models.measure import count_parameters, session  # noqa: E402
from trimtab_models.transforms.store_half import store_half  # noqa: E402

pytestmark = pytest.mark.build


def exported(largest: float = 1.0) -> Exported:
    torch.manual_seed(3)
    dense = nn.Linear(64, 32)
    with torch.no_grad():
        dense.weight[0, 0] = largest
    return export(nn.Sequential(nn.Flatten(), dense, nn.ReLU(), nn.Linear(32, 4)), (1, 8, 8))


def halved(model: Exported) -> Exported:
    unused: Any = None
    made, _ = store_half(model, StoreHalf(), unused)
    return made


def test_the_file_halves_and_the_answers_stay_but_for_rounding() -> None:
    whole = exported()
    (before,), (after,) = whole.stages, halved(whole).stages
    saved = len(before.onnx) - len(after.onnx)
    assert 2 * (64 * 32 + 32 * 4) * 0.9 < saved <= 2 * (64 * 32 + 32 * 4)
    assert count_parameters(after.onnx)[0] == count_parameters(before.onnx)[0]
    images = np.random.default_rng(1).random((5, 1, 8, 8), np.float32)
    wide, narrow = (session(stage.onnx).run(None, {"image": images})[0] for stage in (before, after))
    np.testing.assert_allclose(narrow, wide, atol=2e-3)
    assert not np.array_equal(narrow, wide)


def test_weights_beyond_half_precision_are_refused_by_name() -> None:
    with pytest.raises(FoundryError, match=r"store_half: tensor '.*weight' holds values over 65504"):
        halved(exported(largest=1e5))
