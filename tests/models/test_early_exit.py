"""Networks get exits where asked, all of them learn, and the exported stages answer as the whole."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.errors import FoundryError
from trimtab_models.measure import logits_of_exits, peak_activation_bytes
from trimtab_models.recipe import TAGS, VariantRecipe
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import Branch, EarlyExit

torch = pytest.importorskip("torch")

from trimtab_models import architectures, decode, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.architectures.staged import StagedNetwork, exit_classifier  # noqa: E402
from trimtab_models.export import Exported, export  # noqa: E402
from trimtab_models.measure import count_macs  # noqa: E402
from trimtab_models.training import Batch, cross_entropy, predict  # noqa: E402
from trimtab_models.transforms.early_exit import add_exits, fitted_temperature, joint_loss  # noqa: E402

pytestmark = pytest.mark.build

ONE_EPOCH = Training(epochs=1, batch=32, learning_rate=0.05, flip=False)
IMAGE = (1, 28, 28)
TINY = architectures.ResNet(channels=(16, 16), blocks=1)
LENET = architectures.LeNet5(channels=(4, 8), hidden=16)
RULES = EarlyExit(ONE_EPOCH, thresholds=(0.8,))


def squares(count: int, seed: int) -> Samples:
    """Return noise with a bright square of one of four sizes: the label says which."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (count, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 4, count).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        side = 2 + 5 * int(label)
        image[0, 4 : 4 + side, 4 : 4 + side] += 150
    return Samples(images, labels, np.arange(count))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(squares(256, 1), squares(64, 2), squares(64, 3), ("a", "b", "c", "d"), (0.15,), (0.15,))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks are too small for two, which stall under load
    yield
    torch.set_num_threads(before)


def made(config: Any, splits: Splits) -> Any:
    return architectures.build(config, Head.of(splits), seed=5).eval()


@pytest.fixture
def context(splits: Splits) -> registry.Context:
    return registry.Context(splits, made(TINY, splits), seed=5)


@pytest.fixture(scope="module")
def staged(splits: Splits) -> StagedNetwork:
    reference = made(TINY, splits)
    network, _ = registry.apply(reference, RULES, registry.Context(splits, reference, seed=5))
    assert isinstance(network, StagedNetwork)
    return network


@pytest.fixture(scope="module")
def exported(staged: StagedNetwork) -> Exported:
    return export(staged, IMAGE)


def test_exported_stages_chained_answer_as_the_whole_network(
    staged: StagedNetwork, exported: Exported, splits: Splits
) -> None:
    assert [stage.inputs for stage in exported.stages] == [("image",), ("hidden_0",)]
    assert [stage.outputs for stage in exported.stages] == [("logits_0", "hidden_0"), ("logits_1",)]
    chained = logits_of_exits([stage.onnx for stage in exported.stages], splits.test)
    for one, other in zip(chained, predict(staged, splits.test), strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-3)


def test_peak_activation_counts_what_is_alive_at_once(exported: Exported) -> None:
    feature_map = 16 * 28 * 28 * 4
    peak = peak_activation_bytes(exported.stages[0].onnx)
    assert 2 * feature_map <= peak <= 3 * feature_map + 28 * 28 * 4  # shortcut, one in, one out


def test_macs_are_those_of_one_sample(exported: Exported) -> None:
    last = exported.stages[-1]
    block = 16 * 16 * 14 * 14 * (9 + 9 + 1)
    assert last.macs == block + 16 * 4


@pytest.mark.parametrize(
    ("architecture", "pieces"),
    [
        (TINY, 2),
        (architectures.PooledResNet(channels=(8, 8, 8), blocks=(1, 0, 1), stem=8), 3),
        (LENET, 2),
        (architectures.Mlp(hidden=(12, 8)), 2),
        (architectures.ConvNet(channels=(8, 8, 8)), 3),
        (architectures.MobileNet(channels=(8, 8), strides=(1, 2), stem=8), 3),
    ],
)
def test_pieces_in_a_row_are_the_network(architecture: Any, pieces: int, splits: Splits) -> None:
    network = made(architecture, splits)
    trunk, classifier = network.pieces()
    assert len(trunk) == pieces
    images = torch.rand(3, *IMAGE)
    with torch.no_grad():
        hidden = images
        for piece in trunk:
            hidden = piece(hidden)
        torch.testing.assert_close(classifier(hidden), network(images))


def test_one_can_leave_where_the_config_says(splits: Splits, context: registry.Context) -> None:
    network = made(architectures.ConvNet(channels=(8, 8, 8)), splits)
    config = replace(RULES, exits=(1,), branches=(Branch(pool=2, channels=(6,), stride=1),))
    images = torch.rand(2, *IMAGE)
    with torch.no_grad():
        before = network(images)
        staged = add_exits(network, config, context).eval()
        assert len(staged.stages) == 2
        torch.testing.assert_close(staged(images)[-1], before)  # the trunk starts as it was
    convolutions = [m for m in staged.stages[0].classifier.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [6]


def test_a_dense_network_can_have_exits(splits: Splits, context: registry.Context) -> None:
    staged = add_exits(made(architectures.Mlp(hidden=(12, 8)), splits), RULES, context).eval()
    assert [answers.shape for answers in staged(torch.zeros(2, *IMAGE))] == [(2, 4), (2, 4)]


def test_b_lenets_branch_costs_what_it_should() -> None:
    only_dense = exit_classifier((20, 12, 12), 10, Branch(pool=2))
    hidden = exit_classifier((20, 12, 12), 10, Branch(pool=2, hidden=64))
    with_convolution = exit_classifier((20, 12, 12), 10, Branch(pool=2, channels=(16,), stride=2))
    maps = torch.zeros(1, 20, 12, 12)
    assert count_macs(only_dense, maps) == 20 * 6 * 6 * 10
    assert count_macs(hidden, maps) == 20 * 6 * 6 * 64 + 64 * 10
    assert count_macs(with_convolution, maps) == 16 * 20 * 9 * 3 * 3 + 16 * 3 * 3 * 10


def test_windows_are_pooled_and_convolved_along_time_only() -> None:
    branch = exit_classifier((8, 1, 40), 3, Branch(pool=4, channels=(8,)))
    assert branch(torch.zeros(2, 8, 1, 40)).shape == (2, 3)
    assert next(m for m in branch.modules() if isinstance(m, torch.nn.Conv2d)).kernel_size == (1, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exits": (1,)}, r"exits \[1\]: the network has pieces 0..1"),
        ({"branches": (Branch(), Branch())}, "2 branches for 1 early exits"),
        ({"loss_weights": (1.0,)}, "1 loss_weights for 2 exits"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(
    changes: dict[str, Any], message: str, splits: Splits, context: registry.Context
) -> None:
    with pytest.raises(FoundryError, match=message):
        add_exits(made(TINY, splits), replace(RULES, **changes), context)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": ()}, "either thresholds or budgets"),
        ({"budgets": 3}, "either thresholds or budgets"),
        ({"exits": (2, 1)}, "exits must rise"),
        ({"thresholds": (1.5,)}, "thresholds must be over 0"),
    ],
)
def test_unusable_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RULES, **changes)


def test_a_frozen_trunk_does_not_move_and_its_exits_do(splits: Splits, context: registry.Context) -> None:
    network = made(TINY, splits)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    config = replace(RULES, freeze_trunk=True)
    staged = add_exits(network, config, context)
    fresh = [p.clone() for p in staged.stages[0].classifier.parameters()]
    context.tune(staged, ONE_EPOCH, joint_loss(config, cross_entropy(ONE_EPOCH), 2))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])  # batch norms too
    moved = zip(fresh, staged.stages[0].classifier.parameters(), strict=True)
    assert all(not torch.equal(one, other) for one, other in moved)


def test_the_joint_loss_weighs_exits_as_in_the_paper() -> None:
    torch.manual_seed(1)
    answers = (torch.randn(5, 4), torch.randn(5, 4))
    batch = Batch(torch.zeros(5, *IMAGE), torch.arange(5) % 4, torch.arange(5), torch.zeros(5))
    single = cross_entropy(ONE_EPOCH)
    found = joint_loss(RULES, single, 2)(answers, batch)
    torch.testing.assert_close(found, 1.0 * single(answers[0], batch) + 0.3 * single(answers[1], batch))


def test_an_exit_that_agrees_with_the_last_has_nothing_to_learn_from_it() -> None:
    torch.manual_seed(1)
    last, other = torch.randn(5, 4), torch.randn(5, 4)
    batch = Batch(torch.zeros(5, *IMAGE), torch.arange(5) % 4, torch.arange(5), torch.zeros(5))
    loss = joint_loss(
        replace(RULES, self_teach_frac=1.0, loss_weights=(1.0, 0.0)), cross_entropy(ONE_EPOCH), 2
    )
    assert float(loss((last, last), batch)) == pytest.approx(0.0, abs=1e-5)
    assert float(loss((other, last), batch)) > 0.1


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_of_answers_that_exaggerate_is_found(factor: float) -> None:
    chance = torch.Generator().manual_seed(3)
    honest = 2 * torch.randn(20_000, 4, generator=chance)
    labels = torch.multinomial(honest.softmax(1), 1, generator=chance)[:, 0]
    assert fitted_temperature(factor * honest, labels) == pytest.approx(factor, rel=0.05)


def test_rules_do_not_change_the_name_of_trained_networks() -> None:
    assert repr(replace(RULES, thresholds=(), budgets=6)) == repr(RULES)
    assert repr(replace(RULES, self_teach_frac=0.5)) != repr(RULES)


def test_the_config_survives_yaml() -> None:
    config = replace(RULES, exits=(0,), branches=(Branch(pool=1, channels=(8, 8)),), loss_weights=(1.0, 0.3))
    recipe = VariantRecipe("net-exits", (config,))
    assert decode.decode_text(decode.encode(recipe, TAGS), VariantRecipe, TAGS, name="x") == recipe
