"""Gates choose per sample which blocks run; the exported graph really leaves the others out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.errors import FoundryError
from trimtab_models.measure import session
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import SkipBlocks

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.branching import all_graphs, settle_weights  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.transforms.skip_blocks import GatedBlock, add_gates, executed_shares  # noqa: E402

pytestmark = pytest.mark.build

IMAGE = (1, 16, 16)
TRAINING = Training(epochs=6, batch=16, learning_rate=0.1, flip=False, crop_padding=0)
RESNET = architectures.ResNet(channels=(16, 32), blocks=2)
POOLED = architectures.PooledResNet(channels=(16, 16), blocks=(2, 1), stem=16)


def stripes(count: int, seed: int) -> Samples:
    """Return noise with horizontal or vertical stripes: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 2, count).astype(np.uint8)
    images[labels == 0, :, ::4] += 120
    images[labels == 1, :, :, ::4] += 120
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(stripes(192, 1), stripes(64, 2), stripes(64, 3), ("across", "down"), (0.2,), (0.15,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(config: Any, splits: Splits) -> Any:
    return architectures.build(config, Head.of(splits), seed=5).eval()


def undecided(network: Any, splits: Splits, images: Any) -> list[GatedBlock]:
    """Return the network's gates, set such that each wants about half of ``images``, none by a hair."""
    gated = add_gates(network, SkipBlocks(TRAINING), splits)
    for block in gated:
        score = block.gate[-1]
        torch.nn.init.normal_(score.weight)
        with torch.no_grad():
            seen: list[Any] = []
            handle = block.gate.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
            network(images)
            handle.remove()
            values = seen[0].flatten().sort().values
            gap = int((values[1:] - values[:-1])[2:-2].argmax()) + 2
            score.bias.sub_((values[gap] + values[gap + 1]) / 2)
    return gated


@pytest.fixture(scope="module")
def exported(splits: Splits) -> bytes:
    network = made(RESNET, splits)
    add_gates(network, SkipBlocks(TRAINING), splits)
    onnx_bytes: bytes = export(network, IMAGE).stages[0].onnx
    return onnx_bytes


@pytest.mark.parametrize(("architecture", "blocks"), [(RESNET, 3), (POOLED, 3)])
def test_exported_gates_decide_as_the_network_does(architecture: Any, blocks: int, splits: Splits) -> None:
    network = made(architecture, splits)
    images = torch.from_numpy(splits.test.tensors()[:12])
    gated = undecided(network, splits, images)
    assert len(gated) == blocks
    with torch.no_grad():
        expected = network(images).numpy()
    assert all(0 < float(block.wanted.mean()) < 1 for block in gated)
    model = onnx.load_from_string(export(network, IMAGE).stages[0].onnx)
    settle_weights(model)
    runtime = session(model.SerializeToString())
    np.testing.assert_allclose(runtime.run(None, {"image": images.numpy()})[0], expected, atol=1e-4)
    singly = [runtime.run(None, {"image": images[i : i + 1].numpy()})[0][0] for i in range(len(images))]
    np.testing.assert_allclose(np.stack(singly), expected, atol=1e-4)


def test_a_skipped_block_is_left_out_of_the_graph_that_runs(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    graphs = list(all_graphs(model.graph))
    branches = [[node.op_type for node in graph.node] for graph in graphs[1:]]
    assert sum(branch.count("Conv") for branch in branches) == 6  # two in each of three blocks
    assert sum("Conv" not in branch for branch in branches) == 3
    assert [node.op_type for node in model.graph.node].count("If") == 3


def test_weights_move_into_the_only_branch_that_uses_them(exported: bytes) -> None:
    model = onnx.load_from_string(exported)
    for branch in list(all_graphs(model.graph))[1:]:
        model.graph.initializer.extend(branch.initializer)
        del branch.initializer[:]
    weights = sorted(weight.name for weight in model.graph.initializer)
    settle_weights(model)
    onnx.checker.check_model(model)
    everywhere = sorted(weight.name for graph in all_graphs(model.graph) for weight in graph.initializer)
    assert everywhere == weights
    for graph in list(all_graphs(model.graph))[1:]:
        names = {weight.name for weight in graph.initializer}
        used = {node.input[1] for node in graph.node if node.op_type == "Conv"}
        assert used <= names


def test_closed_gates_leave_their_blocks_input(splits: Splits) -> None:
    network = made(POOLED, splits)
    gated = add_gates(network, SkipBlocks(TRAINING), splits)
    hidden = torch.rand(2, 16, 8, 8)
    gated[0].gate[-1].bias.data.fill_(-100.0)
    torch.testing.assert_close(gated[0](hidden), hidden)
    gated[0].gate[-1].bias.data.fill_(100.0)
    torch.testing.assert_close(gated[0](hidden), gated[0].block(hidden))


def test_training_keeps_to_the_share_and_learns(splits: Splits) -> None:
    network = made(RESNET, splits)
    context = registry.Context(splits, made(RESNET, splits), seed=5)
    config = SkipBlocks(TRAINING, execute_frac=0.4, accuracy_weight=0.1)
    gated_network, report = registry.apply(network, config, context)
    gated = [m for m in gated_network.modules() if isinstance(m, GatedBlock)]
    shares = executed_shares(gated_network, gated, splits.validation)
    macs = [block.macs for block in gated]
    executed = float(np.dot(shares, macs) / sum(macs))
    assert executed < 0.7
    skipped = sum((1 - share) * one for share, one in zip(shares, macs, strict=True))
    assert report.facts["macs"] - report.facts["mean_macs"] == pytest.approx(skipped, abs=1)
    inputs = torch.from_numpy(splits.test.tensors())
    with torch.no_grad():
        right = gated_network(inputs).argmax(1).numpy() == splits.test.labels
    assert right.mean() > 0.9


def test_a_network_without_blocks_is_refused(splits: Splits) -> None:
    with pytest.raises(FoundryError, match="no residual block"):
        add_gates(made(architectures.ConvNet(), splits), SkipBlocks(TRAINING), splits)


@pytest.mark.parametrize("changes", [{"execute_frac": 0.0}, {"accuracy_weight": 1.5}, {"temperature": 0.0}])
def test_unusable_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        SkipBlocks(TRAINING, **changes)
