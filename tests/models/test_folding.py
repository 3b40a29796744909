"""Normalisation that an export folds into convolutions: fewer operators, the same answers."""

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the build extra")
torch = pytest.importorskip("torch", reason="needs the build extra")

from trimtab_models import architectures  # noqa: E402
from trimtab_models.architectures import ConvNet, LeNet5, PooledResNet  # noqa: E402
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.measure import session  # noqa: E402

pytestmark = pytest.mark.build

COLOUR = Head(4, (3, 16, 16), (0.4, 0.5, 0.3), (0.2, 0.25, 0.3), np.eye(12) + 0.5)
POOLED = PooledResNet((16, 16), (0, 1), stem=16)
AIRBENCH = PooledResNet((16, 16), (1, 0), whitened=True)


def settled(config: Any, seed: int = 3) -> Any:
    """Return a network whose batch norms have seen other statistics than the initial ones."""
    network = architectures.build(config, COLOUR, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low in ((module.running_mean, -0.5), (module.running_var, 0.5)):
                values.copy_(low + torch.rand(values.shape, generator=generator))
    return network.eval()


def operators(body: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(body).graph.node]


def assert_same(network: Any, body: bytes) -> None:
    images = torch.rand(8, *COLOUR.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(images).numpy()
    onnx.checker.check_model(onnx.load_from_string(body))
    np.testing.assert_allclose(session(body).run(None, {"image": images.numpy()})[0], expected, atol=1e-4)


@pytest.mark.parametrize("config", [POOLED, AIRBENCH])
def test_norms_behind_pools_fold_and_activations_move_in_front(config: Any) -> None:
    network = settled(config)
    body = export(network, COLOUR.shape).stages[0].onnx
    order = operators(body)
    assert "BatchNormalization" not in order
    assert order[order.index("MaxPool") - 2 : order.index("MaxPool")] == ["Conv", "Relu"]
    assert_same(network, body)


def test_a_norm_that_turns_a_channel_around_stays_behind_its_pool() -> None:
    network = settled(POOLED)
    network.groups[0][2].weight.data[3] = -1.0
    body = export(network, COLOUR.shape).stages[0].onnx
    assert operators(body).count("BatchNormalization") == 1
    assert_same(network, body)


@pytest.mark.parametrize("config", [LeNet5((4, 8), 16, kernel=3), AIRBENCH])
def test_normalisation_folds_into_a_first_convolution_without_padding(config: Any) -> None:
    network = settled(config)
    body = export(network, COLOUR.shape).stages[0].onnx
    assert operators(body)[0] == "Conv"
    assert_same(network, body)


def test_normalisation_stays_in_front_of_a_padded_convolution() -> None:
    network = settled(ConvNet((16,), (1,), (True,)))
    body = export(network, COLOUR.shape).stages[0].onnx
    assert operators(body)[:3] == ["Sub", "Mul", "Conv"]
    assert_same(network, body)


def test_a_whitened_stem_decorrelates_patches() -> None:
    generator = np.random.default_rng(5)
    mixed = generator.normal(size=(400, 12)) @ (np.eye(12) + 0.1 * generator.normal(size=(12, 12)))
    head = Head(4, (3, 16, 16), (0.0,) * 3, (1.0,) * 3, mixed.T @ mixed / len(mixed))
    network = architectures.build(AIRBENCH, head, 1)
    filters = network.stem[1][0].weight.detach().numpy()[:12].reshape(12, 12)
    spread = filters @ (mixed.T @ mixed / len(mixed)) @ filters.T
    np.testing.assert_allclose(spread, np.eye(12), atol=0.02)
    assert not network.stem[1][0].weight.requires_grad


def test_a_whitened_stem_needs_images() -> None:
    with pytest.raises(ValueError, match="2x2 pixels"):
        architectures.build(AIRBENCH, Head(4, (6, 100), (0.0,) * 6, (1.0,) * 6), 1)
