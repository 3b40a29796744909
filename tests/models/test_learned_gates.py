"""Hard-concrete gates follow their formulas; folding and removing them keeps what the network answers."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import LearnedGates

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import logits_of_exits  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.elements import fold, gated, layout, remove  # noqa: E402
from trimtab_models.transforms.learned_gates import gate, gate_at_test, open_prob  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 16, 16)
NETWORKS: dict[str, architectures.ArchitectureConfig] = {
    "lenet5": architectures.LeNet5(channels=(4, 6), hidden=10, kernel=3),
    "convnet": architectures.ConvNet((4, 6), (2, 1), (False, True), hidden=7, mean=False),
    "resnet": architectures.ResNet((4, 6), blocks=1),
    "mobilenet": architectures.MobileNet((4, 6), (1, 2), stem=4),
}


def bright(count: int, seed: int) -> Samples:
    """Return noisy images whose brightness is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    images = rng.integers(0, 60, (count, *IMAGE)) + 60 * labels[:, None, None, None]
    return Samples(images.astype(np.uint8), labels, np.arange(count))


SPLITS = Splits(bright(128, 1), bright(32, 2), bright(64, 3), ("a", "b", "c", "d"), (0.45,), (0.3,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_expected_l0_is_the_share_of_gates_that_are_not_0() -> None:
    odds = torch.tensor([-3.0, -1.0, 0.0, 2.0])
    by_hand = [1 / (1 + math.exp(-(value - 2 / 3 * math.log(0.1 / 1.1)))) for value in odds.tolist()]
    assert open_prob(odds).tolist() == pytest.approx(by_hand, rel=1e-5)
    uniform = torch.rand(200_000, 4, generator=torch.Generator().manual_seed(3))
    drawn = (gate(odds, uniform) > 0).float().mean(dim=0)
    assert torch.allclose(drawn, open_prob(odds), atol=0.005)


def test_gates_at_test_clip_the_stretched_sigmoid() -> None:
    odds = torch.tensor([-10.0, 0.0, 10.0])  # 1.2 / 2 - 0.1 = 0.5 in the middle
    assert gate_at_test(odds).tolist() == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_gates_answer_like_gates(name: str) -> None:
    network = architectures.build(NETWORKS[name], Head.of(SPLITS), seed=5).eval()
    plan = layout(network, registry.Context(SPLITS, network, seed=5), "test")
    torch.manual_seed(2)
    gates = [torch.rand(group.size) * (torch.arange(group.size) % 3 != 1) for group in plan.groups]
    images = torch.rand(5, *IMAGE)
    with torch.no_grad(), gated(network, plan, lambda rows: [g.expand(rows, -1) for g in gates]):
        wanted = network(images)
    fold(plan, gates)
    remove(plan, [g > 0 for g in gates])
    with torch.no_grad():
        assert torch.allclose(network(images), wanted, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_size_is_met_and_the_network_runs_exported(name: str) -> None:
    network = architectures.build(NETWORKS[name], Head.of(SPLITS), seed=5)
    before = sum(parameter.numel() for parameter in network.parameters())
    training = Training(epochs=2, batch=32, learning_rate=0.05)
    config = LearnedGates(keep_frac=0.6, search=training, round_to=2, training=training)
    context = registry.Context(SPLITS, network, seed=5)
    small, report = registry.apply(network, config, context)
    assert report.facts["parameters"] <= 0.6 * before
    kept = [value for fact, value in report.facts.items() if fact.startswith("kept ")]
    assert len(kept) == len(layout(small, context, "test").groups)
    assert all(value % 2 == 0 or value == 7 for value in kept)  # a whole group of seven may stay
    onnx = export(small, IMAGE).stages[0].onnx
    assert np.allclose(logits_of_exits([onnx], SPLITS.test)[0], predict(small, SPLITS.test)[0], atol=1e-4)


def test_gates_close_under_the_limit_on_size() -> None:
    """What is expected to remain falls from nearly everything to the limit."""
    network = architectures.build(architectures.Mlp((32,)), Head.of(SPLITS), seed=5)
    search = Training(epochs=30, batch=16, learning_rate=0.05)
    config = LearnedGates(keep_frac=0.25, search=search, gate_rate=0.1, training=search)
    small, report = registry.apply(network, config, registry.Context(SPLITS, network, seed=5))
    assert report.facts["expected_frac"] < 0.35
    assert report.facts["price"] > 0
    right = predict(small, SPLITS.test)[0].argmax(dim=1).numpy() == SPLITS.test.labels
    assert right.mean() > 0.6
