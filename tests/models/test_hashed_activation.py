"""Hash codes collide as theory says; only found neurons answer; operations are counted by hand."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.errors import FoundryError
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import HashedActivation

torch = pytest.importorskip("torch")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import logits_of_exits  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.hashed_activation import (  # noqa: E402
    HashedLinear,
    centred,
    count_operations,
    found_prob,
    lifted,
    random_signs,
)

pytestmark = pytest.mark.build

IMAGE = (1, 8, 8)


def bright(count: int, seed: int) -> Samples:
    """Return noisy images whose brightness is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    images = rng.integers(0, 60, (count, *IMAGE)) + 60 * labels[:, None, None, None]
    return Samples(images.astype(np.uint8), labels, np.arange(count))


SPLITS = Splits(bright(256, 1), bright(64, 2), bright(100, 3), ("a", "b", "c", "d"), (0.45,), (0.3,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network_of(*hidden: int) -> Any:
    return architectures.build(architectures.Mlp(hidden), Head.of(SPLITS), seed=5).eval()


def context_of(network: Any) -> registry.Context:
    return registry.Context(SPLITS, network, seed=5)


def pair(angle_rad: float, size: int) -> Any:
    """Return two unit vectors at an angle, in a random plane."""
    basis = torch.linalg.qr(torch.randn(size, 2, generator=torch.Generator().manual_seed(4))).Q.T
    return torch.stack([basis[0], math.cos(angle_rad) * basis[0] + math.sin(angle_rad) * basis[1]])


@pytest.mark.parametrize("degrees", [20, 45, 90])
@pytest.mark.parametrize("density_frac", [1 / 3, 1.0])
def test_codes_collide_as_often_as_the_angle_says(degrees: int, density_frac: float) -> None:
    """One code of K bits: (1 - angle / pi)^K; any of L: 1 - (1 - p^K)^L (Charikar, 2002)."""
    bits, tables, trials = 3, 4, 2000
    angle = math.radians(degrees)
    signs = random_signs((200, bits * tables * trials), density_frac, torch.Generator().manual_seed(9))
    first, second = (pair(angle, 200) @ signs > 0).reshape(2, trials, tables, bits)
    same = (first == second).all(dim=2)
    assert float(same.float().mean()) == pytest.approx((1 - degrees / 180) ** bits, abs=0.02)
    found = float(same.any(dim=1).float().mean())
    assert found == pytest.approx(found_prob(angle, bits, tables), abs=0.035)


def test_found_prob_at_a_right_angle_is_known() -> None:
    assert found_prob(math.pi / 2, 2, 3) == pytest.approx(1 - 0.75**3)
    assert found_prob(0.0, 5, 1) == 1.0


def test_centring_and_lifting_keep_the_order_of_neurons() -> None:
    dense = torch.nn.Linear(6, 9)
    inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)) + 3
    mean = inputs.mean(dim=0)
    neurons, scale = centred(dense.weight.detach(), dense.bias.detach(), mean, torch.tensor(2.0))
    vectors = lifted(neurons)
    queries = torch.cat([inputs - mean, scale.expand(4, 1), torch.zeros(4, 1)], dim=1)
    with torch.no_grad():
        assert torch.equal((queries @ vectors.T).argsort(dim=1), dense(inputs).argsort(dim=1))
    assert torch.allclose(vectors.norm(dim=1), vectors.norm(dim=1).max().expand(9))


def test_signs_have_the_density_and_the_balance_asked_for() -> None:
    signs = random_signs((500, 500), 0.2, torch.Generator().manual_seed(1))
    assert float((signs != 0).float().mean()) == pytest.approx(0.2, abs=0.005)
    assert float(signs.mean()) == pytest.approx(0, abs=0.005)
    assert set(signs.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_only_found_neurons_answer_and_they_answer_exactly() -> None:
    dense = torch.nn.Linear(20, 40)
    config = HashedActivation(active_frac=0.25, bits=2, tables=8)
    layer = HashedLinear(dense, config, torch.Generator().manual_seed(3)).eval()
    inputs = torch.randn(50, 20, generator=torch.Generator().manual_seed(4))
    active = layer.active(inputs)
    assert int(active.sum(dim=1).max()) == 10
    assert set(active.unique().tolist()) == {0.0, 1.0}
    with torch.no_grad():
        assert torch.equal(layer(inputs), dense(inputs) * active)
        found = float((dense(inputs) * active).sum() / active.sum())
        assert found > float(dense(inputs).mean()) + 0.1  # those found have larger inner products


def test_inactive_neurons_do_not_learn() -> None:
    dense = torch.nn.Linear(20, 40)
    layer = HashedLinear(dense, HashedActivation(0.25, bits=2, tables=8), torch.Generator().manual_seed(3))
    inputs = torch.randn(1, 20, generator=torch.Generator().manual_seed(4))
    layer.eval()(inputs).sum().backward()
    idle = layer.active(inputs)[0] == 0
    assert (layer.weight.grad[idle] == 0).all()
    assert (layer.weight.grad[~idle] != 0).any()


def test_operations_are_those_counted_by_hand() -> None:
    """64 -> 20 (at most 5 active) -> 10 -> 4: what an inactive neuron would feed is skipped too."""
    network = network_of(20, 10)
    config = HashedActivation(0.25, bits=1, tables=6, density_frac=1.0, min_neurons=16)
    plain = count_operations(network, SPLITS.test)
    assert plain.active_macs == plain.dense_macs == 64 * 20 + 20 * 10 + 10 * 4
    assert (plain.hash_additions, plain.active_frac) == (0.0, 1.0)
    network, report = registry.apply(network, config, context_of(network))
    counted = count_operations(network, SPLITS.test)
    flat = network.frontend(torch.from_numpy(SPLITS.test.tensors())).flatten(1)
    mean_active = float(network.features[1].active(flat).sum(dim=1).mean())
    assert counted.dense_macs == 1520
    assert counted.active_macs == pytest.approx(mean_active * 64 + mean_active * 10 + 40)
    assert counted.hash_additions == 64 * 6 + 6
    assert counted.active_frac == pytest.approx(mean_active / 20)
    assert counted.multiplications_frac == pytest.approx(counted.active_macs / 1520)
    assert report.facts["layers"] == 1


def test_it_learns_sparsely_and_runs_exported_with_equal_answers() -> None:
    network = network_of(96, 64)
    training = Training(epochs=12, batch=32, learning_rate=0.05, crop_padding=0, flip=False)
    config = HashedActivation(0.25, bits=1, tables=32, training=training)
    network, report = registry.apply(network, config, context_of(network))
    assert report.facts["multiplications_frac"] < 0.3
    answers = predict(network, SPLITS.test)[0].numpy()
    assert (answers.argmax(axis=1) == SPLITS.test.labels).mean() > 0.7
    onnx = export(network, IMAGE).stages[0].onnx
    assert np.allclose(logits_of_exits([onnx], SPLITS.test)[0], answers, atol=1e-4)


def test_equal_seeds_give_equal_networks() -> None:
    training = Training(epochs=1, batch=32, learning_rate=0.05)
    config = HashedActivation(0.25, bits=2, tables=8, training=training)
    first, second = (registry.apply(n, config, context_of(n))[0] for n in (network_of(64), network_of(64)))
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_network_without_wide_layers_is_refused() -> None:
    network = network_of(20)
    with pytest.raises(FoundryError, match="64 neurons"):
        registry.apply(network, HashedActivation(0.1), context_of(network))


@pytest.mark.parametrize("field", ["active_frac", "density_frac", "bits", "tables"])
def test_settings_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        HashedActivation(**{"active_frac": 0.1, field: 0})  # type: ignore[arg-type]
