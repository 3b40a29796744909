"""Replaced layers: shapes, starts and costs are those of the papers; every result runs in ONNX Runtime."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.decode import decode_text, encode
from trimtab_models.errors import DefinitionError, FoundryError
from trimtab_models.measure import count_macs, logits_of_exits
from trimtab_models.recipe import TAGS, VariantRecipe
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import DepthwiseSeparable, Fire, GroupLasso, MlpConv, RandomChannels

torch = pytest.importorskip("torch")
pytest.importorskip("torch_pruning")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.sparsity import keep_zeros, nonzero_macs  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.depthwise_separable import separated  # noqa: E402
from trimtab_models.transforms.fire import FireModule  # noqa: E402
from trimtab_models.transforms.group_lasso import Groups, kernels, readers, remove_unread  # noqa: E402
from trimtab_models.transforms.mlpconv import averaging_head, mlpconv_layer  # noqa: E402
from trimtab_models.transforms.random_channels import GatheredConv, cut  # noqa: E402
from trimtab_models.transforms.surgery import inner_convolutions, sites  # noqa: E402

pytestmark = pytest.mark.build

ONE_EPOCH = Training(epochs=1, batch=32, learning_rate=0.02)
LENET = architectures.LeNet5(channels=(8, 16), hidden=64)
IMAGES = architectures.ConvNet(channels=(16, 32), strides=(1, 2), pool=(True, False), hidden=32)
WINDOWS = architectures.ConvNet(channels=(16, 32), strides=(1, 1), pool=(True, True))
RESIDUAL = architectures.PooledResNet(channels=(16, 32), blocks=(1, 1), stem=16)
SPOKEN = architectures.ConvNet(
    channels=(8, 16), strides=(1, 2), pool=(True, False), frontend=architectures.LogMel(bands=16)
)
NETWORKS: list[tuple[Any, tuple[int, ...]]] = [
    (LENET, (1, 28, 28)),
    (IMAGES, (3, 32, 32)),
    (WINDOWS, (6, 64)),
    (RESIDUAL, (3, 32, 32)),
    (SPOKEN, (4000,)),
]
STEPS: list[Any] = [
    DepthwiseSeparable(ONE_EPOCH),
    DepthwiseSeparable(ONE_EPOCH, activation=True),
    Fire(ONE_EPOCH),
    MlpConv(ONE_EPOCH),
    RandomChannels(0.25, training=ONE_EPOCH),
    RandomChannels(0.25, groups=2, training=ONE_EPOCH),
    GroupLasso(0.02, ONE_EPOCH, ONE_EPOCH),
    GroupLasso(0.02, ONE_EPOCH, ONE_EPOCH, groups="kernels"),
]
IDS = [f"{type(step).__name__}-{number}" for number, step in enumerate(STEPS)]


def noise(count: int, shape: tuple[int, ...], seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    if len(shape) == 3:
        inputs, scale = rng.integers(0, 255, (count, *shape), dtype=np.uint8), 1 / 255
    else:
        inputs, scale = rng.integers(-9999, 9999, (count, *shape), dtype=np.int16), 1 / 32768
    return Samples(inputs, rng.integers(0, 4, count).astype(np.uint8), np.arange(count), scale)


def context_of(
    config: Any, shape: tuple[int, ...], partial: Path | None = None
) -> tuple[Any, registry.Context]:
    torch.set_num_threads(1)
    moments = ((0.5,) * shape[0], (0.3,) * shape[0]) if len(shape) > 1 else ((0.0,), (1.0,))
    train, validation, test = (noise(count, shape, count) for count in (64, 16, 17))
    name = ("audio", "window", "image")[len(shape) - 1]
    splits = Splits(train, validation, test, ("a", "b", "c", "d"), *moments, input_name=name)
    network = architectures.build(config, Head.of(splits), seed=5).eval()
    return network, registry.Context(splits, network, seed=5, partial=partial)


@pytest.mark.parametrize("step", STEPS, ids=IDS)
@pytest.mark.parametrize(
    ("config", "shape"), NETWORKS, ids=["lenet", "images", "windows", "residual", "spoken"]
)
def test_every_network_can_be_replaced_and_trained(config: Any, shape: tuple[int, ...], step: Any) -> None:
    network, context = context_of(config, shape)
    network, report = registry.apply(network, step, context)
    assert report.facts.get("layers_replaced", 1) >= 1
    answers = predict(network, context.splits.test)[0]
    assert answers.shape == (17, 4)
    assert torch.isfinite(answers).all()


@pytest.mark.parametrize(("number", "step"), list(enumerate(STEPS)), ids=IDS)
def test_replaced_layers_run_in_onnx_runtime_with_equal_answers(number: int, step: Any) -> None:
    config, shape = NETWORKS[number % 3]
    network, context = context_of(config, shape)
    network, _ = registry.apply(network, step, context)
    exported = export(network, shape, context.splits.input_name)
    theirs = logits_of_exits([exported.stages[0].onnx], context.splits.test)[0]
    np.testing.assert_allclose(theirs, predict(network, context.splits.test)[0].numpy(), atol=1e-3)


def test_the_first_convolution_and_those_of_three_inputs_stay() -> None:
    network, context = context_of(RESIDUAL, (3, 32, 32))
    names = [site.name for site in inner_convolutions(sites(network, context.splits.shape))]
    assert names == ["groups.0.0", "groups.0.4.body.0", "groups.1.0", "groups.1.4.body.0"]


def test_separable_convolutions_cost_what_mobilenet_says() -> None:
    conv = torch.nn.Conv2d(64, 128, 3, padding=1, bias=False)
    image = torch.zeros(1, 64, 14, 14)
    ratio = count_macs(separated(conv), image) / count_macs(conv, image)
    assert ratio == pytest.approx(1 / 128 + 1 / 9)  # 1 / N + 1 / Dk^2, section 3.1


def test_a_kernel_that_is_separable_is_separated_exactly() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(6, 10, (3, 5), stride=(1, 2), padding=(1, 2))
    image = torch.randn(2, 6, 8, 12)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(10, 6, 1, 1) * torch.randn(1, 6, 3, 5))
        torch.testing.assert_close(separated(conv)(image), conv(image), atol=1e-5, rtol=1e-4)


def test_the_separable_start_is_closer_than_any_scaling_of_chance() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(6, 10, 3, padding=1)
    slices = conv.weight.transpose(0, 1).reshape(6, 10, 9)
    depthwise, pointwise = separated(conv)
    kernel = pointwise.weight * depthwise.weight.transpose(0, 1)
    missed = (kernel - conv.weight).square().sum()
    torch.testing.assert_close(
        missed, torch.linalg.svdvals(slices)[:, 1:].square().sum(), rtol=1e-4, atol=1e-6
    )


def test_fire2_has_the_parameters_of_squeezenet() -> None:
    module = FireModule(96, 16, (64, 64), torch.nn.Conv2d(96, 128, 3, padding=1))
    assert sum(parameter.numel() for parameter in module.parameters()) == 11_920  # table 1, fire2
    assert module(torch.zeros(1, 96, 55, 55)).shape == (1, 128, 55, 55)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(5, 1, 0), (5, 2, 2), ((1, 3), (1, 2), (0, 1)), (3, 2, 0), (2, 1, 0), (4, 2, 1)],
)
def test_fire_modules_return_maps_of_the_size_they_replace(kernel: Any, stride: Any, padding: Any) -> None:
    conv = torch.nn.Conv2d(8, 12, kernel, stride, padding)
    module = FireModule.like(conv, 0.25)
    assert module is not None
    image = torch.randn(2, 8, 13, 16)
    assert module(image).shape == conv(image).shape


def test_the_narrow_filters_of_fire_look_at_the_centre_of_the_wide_ones() -> None:
    module = FireModule(2, 2, (1, 1), torch.nn.Conv2d(2, 2, 5))
    with torch.no_grad():
        for conv in (module.squeeze[0], module.narrow, module.wide):
            conv.weight.zero_()
            conv.bias.zero_()
        module.squeeze[0].weight[0, 0] = module.narrow.weight[0, 0] = 1
        module.wide.weight[0, 0, 2, 2] = 1
    narrow, wide = module(torch.rand(1, 2, 9, 9))[0]
    torch.testing.assert_close(narrow, wide)


def test_mlpconv_layers_have_the_shapes_of_network_in_network() -> None:
    layer = mlpconv_layer(torch.nn.Conv2d(3, 192, 5, padding=2), widths=(160, 96))
    assert sum(parameter.numel() for parameter in layer.parameters()) == 14_592 + 30_880 + 15_456  # CIFAR-10
    assert layer(torch.zeros(1, 3, 32, 32)).shape == (1, 96, 32, 32)


def test_mlpconv_starts_as_the_relu_of_its_convolution() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(3, 8, 3)
    image = torch.randn(2, 3, 7, 7)
    torch.testing.assert_close(mlpconv_layer(conv)(image), torch.relu(conv(image)))


def test_mean_then_dense_is_network_in_networks_one_map_per_class_then_mean() -> None:
    network, context = context_of(LENET, (1, 28, 28))
    head = averaging_head(network, context.splits.shape, 4)
    dense = head[-1]
    assert dense.weight.shape == (4, 16)
    image = torch.rand(2, 16, 4, 4)
    maps = torch.nn.functional.conv2d(image, dense.weight[:, :, None, None], dense.bias)
    torch.testing.assert_close(head(image), maps.mean(dim=(2, 3)))


def test_mlpconv_removes_lenets_dense_layers() -> None:
    network, context = context_of(LENET, (1, 28, 28))
    network, report = registry.apply(network, MlpConv(ONE_EPOCH), context)
    pointwise = 2 * (8 * 8 + 8) + 2 * (16 * 16 + 16)
    assert report.facts["parameters"] == (25 * 8 + 8) + (25 * 8 * 16 + 16) + pointwise + (16 * 4 + 4)


def test_mlpconv_refuses_networks_without_maps() -> None:
    network, context = context_of(architectures.Mlp(hidden=(16,)), (1, 12, 12))
    with pytest.raises(FoundryError, match="mlpconv: MlpNetwork has no k x k convolution"):
        registry.apply(network, MlpConv(ONE_EPOCH), context)


def test_random_channels_keep_the_share_and_stay_where_they_are() -> None:
    network, context = context_of(IMAGES, (3, 32, 32))
    before = copy.deepcopy(network)
    cut(before.features[2][0].weight, 0.25, torch.Generator().manual_seed(5))
    network, report = registry.apply(network, RandomChannels(0.25, training=ONE_EPOCH), context)
    weight = network.features[2][0].weight
    seen = weight.abs().sum(dim=(2, 3)) > 0
    assert (seen.sum(dim=1) == 4).all()
    assert torch.equal(weight != 0, before.features[2][0].weight != 0)
    dense = 32 * 16 * 9 * 8 * 8
    assert report.facts["macs_before"] - report.facts["nonzero_macs"] == dense * 3 // 4
    assert report.facts["macs"] == report.facts["macs_before"]


def test_gathered_groups_compute_the_convolution_with_zeros_for_a_quarter_of_the_work() -> None:
    conv = torch.nn.Conv2d(16, 12, 3, padding=1)
    gathered = GatheredConv(conv, 3, 0.25, torch.Generator().manual_seed(1))
    masked = copy.deepcopy(conv)
    seen = gathered.seen.reshape(3, 4)
    with torch.no_grad():
        for output in range(12):
            for channel in set(range(16)) - set(seen[output // 4].tolist()):
                masked.weight[output, channel] = 0
    image = torch.randn(2, 16, 9, 9)
    torch.testing.assert_close(gathered(image), masked(image), atol=1e-5, rtol=1e-4)
    assert count_macs(gathered, image) * 4 == count_macs(masked, image)
    assert nonzero_macs(masked, image) == count_macs(gathered, image)


def test_groups_must_divide_the_outputs() -> None:
    network, context = context_of(IMAGES, (3, 32, 32))
    with pytest.raises(FoundryError, match=r"random_channels: features.2.0 has 32 outputs, .* groups 5"):
        registry.apply(network, RandomChannels(0.25, groups=5), context)


def test_a_proximal_step_takes_the_strength_off_each_root_mean_square() -> None:
    weight = torch.tensor([[3.0, 0.1, 5.0], [4.0, 0.1, 12.0]])
    groups = Groups([weight], [torch.arange(3).expand(2, 3)])
    torch.testing.assert_close(groups.norms(), torch.tensor([5.0, 0.02**0.5, 13.0]))
    groups.shrink(1.0, keep_frac=1 / 3)
    shrunk = 1 - 2**0.5 / 5  # norm 5 loses 1 x sqrt(2); the largest is spared
    torch.testing.assert_close(weight, torch.tensor([[3 * shrunk, 0, 5], [4 * shrunk, 0, 12]]))


def test_weights_that_read_a_channel_are_one_group_across_a_flattened_map() -> None:
    network, _ = context_of(LENET, (1, 28, 28))
    sizes = sorted(group.sizes.tolist() for group in readers(network, (1, 28, 28)))
    assert sizes == [[4] * 64, [25 * 16] * 8, [16 * 64] * 16]  # dense 2; conv 2; 4 x 4 pixels of dense 1


def test_kernels_are_slices_and_single_dense_weights() -> None:
    network, _ = context_of(LENET, (1, 28, 28))
    assert [sorted(set(group.sizes.tolist())) for group in kernels(network, (1, 28, 28))] == [[25], [1], [1]]
    assert [len(group.norms()) for group in kernels(network, (1, 28, 28))] == [8 * 16, 256 * 64, 64 * 4]


@pytest.mark.parametrize(
    ("config", "shape"), NETWORKS, ids=["lenet", "images", "windows", "residual", "spoken"]
)
def test_removing_unread_channels_changes_no_answer(config: Any, shape: tuple[int, ...]) -> None:
    network, context = context_of(config, shape)
    for group in readers(network, shape):
        group.shrink(1e9, keep_frac=0.5)
    answers = predict(network, context.splits.test)[0]
    before = sum(parameter.numel() for parameter in network.parameters())
    assert remove_unread(network, shape) > 0
    torch.testing.assert_close(predict(network, context.splits.test)[0], answers, atol=1e-5, rtol=1e-4)
    assert sum(parameter.numel() for parameter in network.parameters()) < 0.7 * before


def test_channels_remain_in_multiples_and_classes_all() -> None:
    network, context = context_of(LENET, (1, 28, 28))
    strong = GroupLasso(10.0, ONE_EPOCH, keep_frac=0.3, round_to=4)
    network, report = registry.apply(network, strong, context)
    # 0.3 of 8, 16 and 64 is 3, 5 and 20: in fours 4, 8 and 20
    assert [tuple(site.layer.weight.shape[:2]) for site in sites(network, (1, 28, 28))] == [
        (4, 1), (8, 4), (20, 8 * 16), (4, 20),
    ]  # fmt: skip
    assert report.facts["groups_zero"] == 5 + 11 + 44
    assert "group_lasso_steps" not in network.state_dict()


def test_kernels_stay_zero_while_retraining() -> None:
    network, context = context_of(LENET, (1, 28, 28))
    step = GroupLasso(10.0, ONE_EPOCH, ONE_EPOCH, groups="kernels", keep_frac=0.25)
    network, report = registry.apply(network, step, context)
    kept = [int(site.layer.weight.flatten(2).any(dim=2).sum()) for site in sites(network, (1, 28, 28))[1:2]]
    assert kept == [8 * 16 // 4]
    assert report.facts["nonzero_macs"] == 25 * 8 * 24 * 24 + (25 * 32) * 64 + (256 * 64 + 64 * 4) // 4


class _Interrupt:
    """Stop after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def __call__(self, _: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epochs", [1, 3])
def test_group_lasso_goes_on_after_an_interruption_and_ends_the_same(tmp_path: Path, epochs: int) -> None:
    two = Training(epochs=2, batch=32, learning_rate=0.02)
    step = GroupLasso(0.01, two, two)
    whole, _ = registry.apply(*(context_of(LENET, (1, 28, 28))[0], step, context_of(LENET, (1, 28, 28))[1]))
    network, context = context_of(LENET, (1, 28, 28), tmp_path / "net.partial")
    stopped = registry.Context(
        context.splits, context.reference, 5, context.partial, on_epoch=_Interrupt(epochs)
    )
    with pytest.raises(KeyboardInterrupt):
        registry.apply(network, step, stopped)
    fresh, context = context_of(LENET, (1, 28, 28), tmp_path / "net.partial")
    resumed, _ = registry.apply(fresh, step, context)
    assert not list(tmp_path.iterdir())
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value)


def test_nonzero_macs_count_each_position_of_a_weight() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(3 * 16, 5))
    example = torch.zeros(2, 2, 6, 6)
    assert nonzero_macs(network, example) == count_macs(network, example) == 2 * 3 * 9 * 16 + 48 * 5
    with torch.no_grad():
        network[0].weight[1] = 0
        network[2].weight[:, :10] = 0
    assert nonzero_macs(network, example) == 2 * 2 * 9 * 16 + 38 * 5


def test_zeros_are_kept_by_what_follows_each_step() -> None:
    weight = torch.tensor([1.0, 0.0, 2.0])
    restore = keep_zeros([weight])
    weight += 1
    restore()
    assert weight.tolist() == [2, 0, 3]


@pytest.mark.parametrize("step", STEPS)
def test_configs_round_trip_through_yaml(step: Any) -> None:
    recipe = VariantRecipe("small", (step,))
    assert decode_text(encode(recipe, TAGS), VariantRecipe, TAGS) == recipe


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("random_channels: {keep_frac: 0}", "keep_frac must be over 0"),
        ("fire: {squeeze_frac: 0.2}", "missing field: training"),
        ("group_lasso: {strength: 0, training: {epochs: 1}}", "strength must be over 0"),
        ("group_lasso: {strength: 1, training: {epochs: 1}, groups: rows}", "groups"),
    ],
)
def test_impossible_settings_are_refused_with_field_and_reason(text: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        decode_text(
            f"name: a\nrecipe: [{text}]" if text[0] == "{" else f"name: a\nrecipe:\n  - {text}",
            VariantRecipe,
            TAGS,
        )
