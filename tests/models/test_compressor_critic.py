"""Gates on elements equal their removal; the compressor's gradient is unbiased; small networks come out."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.errors import FoundryError
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import CompressorCritic

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import logits_of_exits  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.compressor_critic import reinforce  # noqa: E402
from trimtab_models.transforms.elements import choose, gated, layout, remove  # noqa: E402

pytestmark = pytest.mark.build

EPOCH = Training(epochs=1, batch=32, learning_rate=0.05)
IMAGE = (1, 16, 16)
NETWORKS: dict[str, architectures.ArchitectureConfig] = {
    "mlp": architectures.Mlp((12, 9)),
    "lenet5": architectures.LeNet5(channels=(4, 6), hidden=10, kernel=3),
    "convnet": architectures.ConvNet((4, 6), (2, 1), (False, True), hidden=7, mean=False),
    "resnet": architectures.ResNet((4, 6), blocks=1),
    "pooled_resnet": architectures.PooledResNet((4, 6), (1, 1), stem=4),
    "mobilenet": architectures.MobileNet((4, 6), (1, 2), stem=4),
}


def noise(count: int, seed: int) -> Samples:
    """Return noisy images whose brightness is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    images = rng.integers(0, 60, (count, *IMAGE)) + 60 * labels[:, None, None, None]
    return Samples(images.astype(np.uint8), labels, np.arange(count))


SPLITS = Splits(noise(96, 1), noise(32, 2), noise(32, 3), ("a", "b", "c", "d"), (0.45,), (0.3,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(name: str) -> tuple[Any, registry.Context]:
    network = architectures.build(NETWORKS[name], Head.of(SPLITS), seed=5).eval()
    return network, registry.Context(SPLITS, network, seed=5)


def size(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def alternating(plan: Any) -> list[Any]:
    return [torch.arange(group.size) % 3 != 1 for group in plan.groups]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_gate_of_0_is_the_network_without_the_element(name: str) -> None:
    network, context = built(name)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plan = layout(network, context, "test")
    kept = alternating(plan)
    images = torch.rand(5, *IMAGE)
    with torch.no_grad(), gated(network, plan, lambda rows: [k.float().expand(rows, -1) for k in kept]):
        gate = network(images)
    expected = plan.parameters([float(k.float().mean()) for k in kept])
    remove(plan, kept)
    with torch.no_grad():
        assert torch.allclose(network(images), gate, atol=1e-5)
    assert size(network) == pytest.approx(expected)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_removing_elements_that_are_zero_changes_nothing() -> None:
    network, context = built("mlp")
    plan = layout(network, context, "test")
    kept = alternating(plan)
    images = torch.rand(5, *IMAGE)
    with torch.no_grad():
        for group, stays in zip(plan.groups, kept, strict=True):
            group.root.weight[~stays] = 0
            group.root.bias[~stays] = 0
        before = network(images)
        remove(plan, kept)
        assert torch.allclose(network(images), before, atol=1e-6)
    assert network.head[0].in_features == int(kept[-1].sum())


def test_one_threshold_for_the_whole_network_meets_the_size() -> None:
    network, context = built("mlp")
    plan = layout(network, context, "test")  # 256 -> 12 -> 9 -> 4: 3084 + 117 + 40 parameters
    assert plan.parameters([1.0, 1.0]) == 3084 + 117 + 40
    assert plan.parameters([0.5, 1.0]) == 1542 + 54 + 9 + 40
    scores = [torch.arange(12) / 12, torch.ones(9)]
    kept, threshold = choose(plan, scores, 1645 / 3241, 1, "test")
    assert kept[0].tolist() == [False] * 6 + [True] * 6
    assert threshold == pytest.approx(0.5)
    rounded, _ = choose(plan, scores, 0.7, 4, "test")
    assert [int(k.sum()) for k in rounded] == [8, 9]
    with pytest.raises(FoundryError, match=r"keep_frac 0\.01"):
        choose(plan, scores, 0.01, 1, "test")


def test_reinforce_is_the_gradient_of_the_expected_loss() -> None:
    """Two elements, four masks: enumerate them instead of sampling."""
    table = {(0, 0): 3.0, (0, 1): 1.0, (1, 0): 0.5, (1, 1): 0.2}
    chances = torch.tensor([0.3, 0.8], requires_grad=True)
    a, b = chances
    exact = (1 - a) * (1 - b) * 3.0 + (1 - a) * b * 1.0 + a * (1 - b) * 0.5 + a * b * 0.2
    wanted = torch.autograd.grad(exact, chances)[0]
    for baseline in (0.0, 0.7):
        estimate = torch.zeros(2)
        for mask in product((0, 1), (0, 1)):
            drawn = torch.tensor([mask], dtype=torch.float32)
            value = reinforce([chances], [drawn], torch.tensor([table[mask]]), baseline)
            chance = (drawn * chances + (1 - drawn) * (1 - chances)).prod().detach()
            estimate += chance * torch.autograd.grad(value, chances)[0]
        assert torch.allclose(estimate, wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "lenet5", "convnet", "resnet"])
def test_a_smaller_network_comes_out_and_runs_exported(name: str) -> None:
    network, context = built(name)
    before = size(network)
    config = CompressorCritic(keep_frac=0.5, search=EPOCH, training=EPOCH, compressor_width=8)
    small, report = registry.apply(network, config, context)
    assert report.facts["parameters_before"] == before
    assert report.facts["parameters"] == size(small) <= 0.5 * before
    onnx = export(small, IMAGE).stages[0].onnx
    assert np.allclose(logits_of_exits([onnx], SPLITS.test)[0], predict(small, SPLITS.test)[0], atol=1e-4)


def test_equal_seeds_give_equal_networks() -> None:
    config = CompressorCritic(keep_frac=0.4, search=EPOCH, compressor_width=8)
    first, second = (registry.apply(*built_with("mlp", config))[0] for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def built_with(name: str, config: Any) -> tuple[Any, Any, registry.Context]:
    network, context = built(name)
    return network, config, context


def test_the_search_finds_the_elements_that_matter() -> None:
    """Of eight neurons one carries the label; the others' weights onward are zero and stay so."""
    _, context = built("mlp")
    network = architectures.build(architectures.Mlp((8,)), Head.of(SPLITS), seed=5)
    search = Training(epochs=40, batch=16, learning_rate=1e-6, weight_decay=0.0)
    with torch.no_grad():
        first, last = network.features[1], network.head[0]
        first.weight[:] = 1 / 256
        first.bias[:] = torch.tensor([1.5, 0.1] * 4)
        last.weight.zero_()
        last.weight[:, 2] = torch.tensor([-12.0, -4.0, 4.0, 12.0])
        last.bias[:] = torch.tensor([9.0, 4.0, -4.0, -11.0])
    config = CompressorCritic(keep_frac=0.13, search=search, compressor_width=8, compressor_rate=0.02)
    small, _ = registry.apply(network, config, context)
    assert small.head[0].in_features == 1
    assert (small.head[0].weight.abs().max(dim=0).values > 5).all()


def test_a_layer_it_does_not_know_is_named() -> None:
    network, context = built("mlp")
    network.features[1] = torch.nn.Bilinear(256, 256, 12)
    with pytest.raises(FoundryError, match=r"compressor_critic: layer features\.1 \(Bilinear\)"):
        registry.apply(network, CompressorCritic(keep_frac=0.5, search=EPOCH), context)


@pytest.mark.parametrize("field", ["keep_frac", "start_prob", "rise_frac", "round_to"])
def test_settings_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        CompressorCritic(**{"keep_frac": 0.5, "search": EPOCH, field: 0})  # type: ignore[arg-type]
