"""Structured pruning removes channels from every architecture, fewer from layers that need them."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import PruneStructured, Sensitivity

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures import ConvNet, LeNet5, LogMel, Mlp, MobileNet, PooledResNet, ResNet  # noqa: E402
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.measure import count_macs  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.layerwise import LayerError  # noqa: E402
from trimtab_models.transforms.prune_structured import groups, shrink  # noqa: E402
from trimtab_models.transforms.sensitivity import least_share, measure, shares_at  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 16, 16)
STEP = Training(epochs=3, batch=32, learning_rate=0.1, flip=False, crop_padding=0)
CURVE = ((0.25, 0.5, 0.75, 1.0), (0.4, 0.2, 0.0, 0.0))


def corners(count: int, seed: int) -> Samples:
    """Return noise with one bright corner: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = 8 * (int(label) // 2), 8 * (int(label) % 2)
        image[0, top : top + 8, left : left + 8] += 60
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(corners(256, 1), corners(128, 2), corners(64, 3), tuple("abcd"), (0.25,), (0.15,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(config: Any, splits: Splits) -> tuple[Any, registry.Context]:
    network = architectures.build(config, Head.of(splits), seed=5).eval()
    return network, registry.Context(splits, network, seed=5)


def size(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def widths(network: Any) -> list[int]:
    return [m.out_channels for m in network.modules() if isinstance(m, torch.nn.Conv2d)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ResNet((16, 16), blocks=1), [8] * 6),
        (PooledResNet((16, 32), (1, 1), stem=16), [8, 8, 8, 16, 16]),
        (MobileNet((16, 32), (1, 2), stem=16), [8, 8, 8, 8, 16]),
        (ConvNet((16, 16), (1, 1), (True, True), hidden=16), [8, 8]),
        (LeNet5((16, 32), hidden=64, kernel=3), [8, 16]),
        (Mlp((64, 32)), []),
    ],
)
def test_half_the_channels_go(config: Any, expected: list[int], splits: Splits) -> None:
    network, context = made(config, splits)
    before = size(network)
    pruned, report = registry.apply(network, PruneStructured(0.5, round_to=8), context)
    assert widths(pruned) == expected
    assert report.facts == {"parameters_before": before, "parameters": size(pruned)}
    assert size(pruned) < before / 1.8
    assert pruned(torch.zeros(2, *IMAGE)).shape == (2, 4)


def test_log_mel_features_stay_whole() -> None:
    rng = np.random.default_rng(0)
    audio = Samples(
        rng.integers(-9000, 9000, (8, 4000)).astype(np.int16),
        rng.integers(0, 4, 8).astype(np.uint8),
        np.arange(8),
        1 / 32768,
    )
    splits = Splits(audio, audio, audio, tuple("abcd"), (0.0,), (1.0,), "audio")
    network, context = made(ResNet((16, 32), blocks=1, frontend=LogMel()), splits)
    before = copy.deepcopy(network.stem[0].state_dict())
    pruned, _ = registry.apply(network, PruneStructured(0.5, round_to=8), context)
    assert widths(pruned) == [8, 8, 8, 16, 16, 16]
    for name, value in pruned.stem[0].state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert pruned(torch.zeros(2, 4000)).shape == (2, 4)


def test_the_weakest_channels_go(splits: Splits) -> None:
    network, context = made(LeNet5((16, 16), hidden=16, kernel=3), splits)
    conv = network.features[0]
    conv.weight.data[::2] *= 0.01
    conv.bias.data.zero_()
    strong = conv.weight.detach()[1::2].clone()
    shrink(network, PruneStructured(1.0, round_to=8), context, {"features.0": 0.5})
    torch.testing.assert_close(network.features[0].weight.detach(), strong)
    assert network.features[2].weight.shape[:2] == (16, 8)  # the others whole, their inputs fewer


def test_coupled_layers_form_one_group(splits: Splits) -> None:
    network, context = made(PooledResNet((16, 32), (1, 1), stem=16), splits)
    assert groups(network, context) == {
        "stem.1.0": ("stem.1.0",),
        "groups.0.0": ("groups.0.0", "groups.0.4.body.0"),
        "groups.1.0": ("groups.1.0", "groups.1.4.body.0"),
    }
    assert len(list(network.stem[0].buffers())) == 2  # the frontend is back in its place


def test_the_least_share_is_read_off_the_curve() -> None:
    assert least_share(CURVE, 0.0, 0.1) == pytest.approx(0.75)
    assert least_share(CURVE, 0.1, 0.1) == pytest.approx(0.625)  # half-way from 0.2 at 0.5 to 0 at 0.75
    assert least_share(CURVE, 0.3, 0.1) == pytest.approx(0.375)
    assert least_share(CURVE, 0.3, 0.5) == 0.5  # the floor
    assert least_share(CURVE, 0.4, 0.1) == pytest.approx(0.25)


def test_what_costs_nothing_goes_first_then_all_lose_alike() -> None:
    curves = {"tough": ((0.25, 1.0), (0.0, 0.0)), "tender": ((0.25, 1.0), (0.3, 0.0))}
    assert shares_at(0.0, curves, 0.1) == {"tough": 1.0, "tender": 1.0}
    assert shares_at(0.5, curves, 0.1) == pytest.approx({"tough": 0.625, "tender": 1.0})
    assert shares_at(1.5, curves, 0.1) == pytest.approx({"tough": 0.25, "tender": 0.625})
    assert shares_at(2.0, curves, 0.1) == pytest.approx({"tough": 0.25, "tender": 0.25})


def test_sensitive_layers_keep_more_within_the_budget(splits: Splits) -> None:
    network, context = made(ConvNet((16, 16, 16), (1, 1, 1), (True, True, False)), splits)
    conv, norm, _ = network.features[2]
    with torch.no_grad():  # three channels of four answer 0, and learn nothing
        for tensor in (conv.weight, norm.weight, norm.bias):
            tensor[:12] = 0.0
    context.tune(network, STEP)
    whole, before = accuracy(network, splits), count_macs(network, torch.zeros(1, *IMAGE))
    config = PruneStructured(0.25, round_to=4, sensitivity=Sensitivity(macs_frac=0.5, samples=128))
    assert config.sensitivity is not None
    curves = measure(network, config, config.sensitivity, context)
    assert all(list(losses) == sorted(losses, reverse=True) for _, losses in curves.values())
    assert set(curves["features.2.0"][1]) == {0.0}
    pruned, report = registry.apply(network, config, context)
    macs = count_macs(pruned, torch.zeros(1, *IMAGE))
    assert 0.25 * before < macs <= 0.5 * before
    kept = {name: report.facts[f"keep_frac.{name}"] for name in curves}
    tender = max(curves, key=lambda name: curves[name][1][0])
    assert kept["features.2.0"] < kept[tender]
    assert accuracy(pruned, splits) > whole - 0.1


def accuracy(network: Any, splits: Splits) -> float:
    return float((predict(network, splits.test)[-1].argmax(1).numpy() == splits.test.labels).mean())


def test_a_latency_budget_is_measured_on_the_runtime(splits: Splits) -> None:
    network, context = made(ConvNet((64, 64), (1, 1), (False, False)), splits)
    before = size(network)
    sensitivity = Sensitivity(latency_frac=0.7, probes=(0.25,), samples=32)
    pruned, _ = registry.apply(network, PruneStructured(0.25, sensitivity=sensitivity), context)
    assert size(pruned) < before


def test_a_budget_out_of_reach_is_refused(splits: Splits) -> None:
    network, context = made(ConvNet((16, 16), (1, 1), (True, False)), splits)
    config = PruneStructured(0.9, round_to=8, sensitivity=Sensitivity(macs_frac=0.01, probes=(0.5,)))
    with pytest.raises(
        LayerError, match=r"keeping 0.9 of every layer .*features.* misses the budget of 0.01"
    ):
        registry.apply(network, config, context)
    with pytest.raises(ValueError, match="either macs_frac or latency_frac"):
        Sensitivity()
