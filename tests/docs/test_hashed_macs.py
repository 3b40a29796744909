"""benchmarks/hashed_macs.py counts on the artefact what the transform counts on the network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

import hashed_macs  # noqa: E402

import families  # noqa: E402
from families import Shipped  # noqa: E402
from trimtab_models.datasets.samples import Samples  # noqa: E402
from trimtab_models.errors import FoundryError  # noqa: E402
from trimtab_models.family import read_manifest  # noqa: E402

pytestmark = pytest.mark.build


def shipped(folder: Path, model: bytes, samples: Samples) -> Shipped:
    (folder / "net.onnx").write_bytes(model)
    family = read_manifest(families.FAMILIES / "fashion")
    known = family.variant("student-tiny")
    stage = replace(known.stages[0], artefact="net.onnx")
    return Shipped(
        folder, replace(family, variants=(replace(known, name="net", stages=(stage,)),)), samples, "image"
    )


@pytest.fixture(scope="module")
def samples() -> Samples:
    chance = np.random.default_rng(3)
    return Samples(
        chance.integers(0, 256, (250, 1, 6, 6), dtype=np.uint8), np.zeros(250, np.uint8), np.arange(250)
    )


def test_two_hashed_layers(samples: Samples, tmp_path: Path) -> None:
    from torch import nn

    from trimtab_models.export import export
    from trimtab_models.transforms.configs import HashedActivation
    from trimtab_models.transforms.hashed_activation import HashedLinear, count_operations, observe

    torch.manual_seed(0)
    chance = torch.Generator().manual_seed(1)
    config = HashedActivation(active_frac=0.25)
    hashed = [
        HashedLinear(nn.Linear(36, 20), config, chance),
        HashedLinear(nn.Linear(20, 16), config, chance),
    ]
    network = nn.Sequential(nn.Flatten(), hashed[0], nn.ReLU(), hashed[1], nn.ReLU(), nn.Linear(16, 4))
    observe(network, hashed, samples)
    model = export(network, (1, 6, 6)).stages[0].onnx
    found = hashed_macs.needed(shipped(tmp_path, model, samples), "net")
    expected = count_operations(network, samples)
    assert found.active_frac == pytest.approx(expected.active_frac, rel=0.01)
    assert found.macs == pytest.approx(expected.active_macs, rel=0.01)
    assert found.hash_additions == pytest.approx(expected.hash_additions, rel=0.01)
    assert found.macs < 0.5 * expected.dense_macs


def test_a_network_without_hashing_is_refused(samples: Samples, tmp_path: Path) -> None:
    model = (families.FAMILIES / "fashion" / "student-tiny.onnx").read_bytes()
    with pytest.raises(FoundryError, match="has no hashed layer"):
        hashed_macs.needed(shipped(tmp_path, model, samples), "net")
