"""Low rank: the factors compute the layer, ranks are those asked for, costs are those of the papers."""

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.decode import decode_text, encode
from trimtab_models.errors import FoundryError
from trimtab_models.measure import count_macs, logits_of_exits
from trimtab_models.recipe import TAGS, VariantRecipe
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import LowRank
from trimtab_models.transforms.vbmf import evbmf_rank

torch = pytest.importorskip("torch")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.factors import cost, svd, svd_pointwise, tucker2, whole_cost  # noqa: E402
from trimtab_models.transforms.ranks import Option, energy_rank, hull  # noqa: E402
from trimtab_models.transforms.surgery import Site, sites  # noqa: E402

pytestmark = pytest.mark.build

ONE_EPOCH = Training(epochs=1, batch=32, learning_rate=0.02)
LENET = architectures.LeNet5(channels=(8, 16), hidden=64)


def noise(count: int, shape: tuple[int, ...], seed: int) -> Samples:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (count, *shape), dtype=np.uint8)
    return Samples(images, rng.integers(0, 4, count).astype(np.uint8), np.arange(count))


def context_of(config: Any, shape: tuple[int, ...] = (1, 28, 28)) -> tuple[Any, registry.Context]:
    torch.set_num_threads(1)
    moments = ((0.5,) * shape[0], (0.3,) * shape[0])
    train, validation, test = (noise(count, shape, count) for count in (64, 16, 17))
    name = "image" if len(shape) == 3 else "window"
    splits = Splits(train, validation, test, ("a", "b", "c", "d"), *moments, input_name=name)
    network = architectures.build(config, Head.of(splits), seed=5).eval()
    return network, registry.Context(splits, network, seed=5)


def low_rank_matrix(rows: int, columns: int, rank: int, level: float) -> Any:
    rng = np.random.default_rng(rank)
    signal = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    return signal + level * rng.normal(size=(rows, columns))


@pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(50, 300, 5), (300, 784, 20), (100, 100, 20), (300, 50, 5)]
)
@pytest.mark.parametrize("level", [0.1, 1.0])
def test_vbmf_finds_the_rank_under_noise(rows: int, columns: int, rank: int, level: float) -> None:
    assert evbmf_rank(low_rank_matrix(rows, columns, rank, level)) == rank


def test_vbmf_finds_nothing_in_noise_and_the_whole_rank_without() -> None:
    assert evbmf_rank(np.random.default_rng(1).normal(size=(60, 200))) == 0
    assert evbmf_rank(low_rank_matrix(60, 200, 7, 0.0)) == 7


def kernel_of_rank(outputs: int, inputs: int, rank_out: int, rank_in: int) -> Any:
    torch.manual_seed(1)
    core = torch.randn(rank_out, rank_in, 3, 3)
    return torch.einsum(
        "or,rskl,si->oikl", torch.randn(outputs, rank_out), core, torch.randn(rank_in, inputs)
    )


def test_tucker2_of_a_kernel_of_low_rank_is_exact_at_that_rank_and_not_below() -> None:
    conv = torch.nn.Conv2d(12, 10, 3, stride=2, padding=1)
    image = torch.randn(2, 12, 9, 9)
    with torch.no_grad():
        conv.weight.copy_(kernel_of_rank(10, 12, 5, 4))
        torch.testing.assert_close(tucker2(conv, 4, 5)(image), conv(image), atol=1e-3, rtol=1e-4)
        assert float((tucker2(conv, 3, 5)(image) - conv(image)).norm()) > 1


def test_tucker2_gets_closer_with_rank_and_exact_at_full() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(8, 12, 3, stride=2, padding=1)
    image = torch.randn(2, 8, 9, 9)
    with torch.no_grad():
        errors = [
            float((tucker2(conv, *ranks)(image) - conv(image)).norm()) for ranks in ((2, 2), (4, 4), (8, 8))
        ]
        assert errors == sorted(errors, reverse=True)
        torch.testing.assert_close(tucker2(conv, 8, 12)(image), conv(image))


def test_tucker2_keeps_rectangles_and_has_no_factor_for_a_full_side() -> None:
    torch.manual_seed(1)
    conv = torch.nn.Conv2d(6, 32, (1, 5), stride=(1, 2), padding=(0, 2))
    factors = tucker2(conv, 6, 30)
    assert [layer.kernel_size for layer in factors] == [(1, 5), (1, 1)]
    window = torch.randn(2, 6, 1, 20)
    with torch.no_grad():  # 6 x 5 columns: the unfolding along 32 outputs has rank 30
        torch.testing.assert_close(factors(window), conv(window), atol=1e-5, rtol=1e-4)


def test_svd_is_exact_at_full_rank() -> None:
    torch.manual_seed(1)
    dense, conv = torch.nn.Linear(20, 10), torch.nn.Conv2d(20, 10, 1, stride=2)
    vector, image = torch.randn(3, 20), torch.randn(3, 20, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(svd(dense, 10)(vector), dense(vector), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(svd_pointwise(conv, 10)(image), conv(image), atol=1e-5, rtol=1e-4)


def test_svd_misses_exactly_the_singular_values_left_out() -> None:
    torch.manual_seed(1)
    dense = torch.nn.Linear(20, 10)
    first, last = svd(dense, 4)
    with torch.no_grad():
        missed = (dense.weight - last.weight @ first.weight).square().sum()
        left_out = torch.linalg.svdvals(dense.weight)[4:].square().sum()
    torch.testing.assert_close(missed, left_out, rtol=1e-4, atol=1e-6)


def test_costs_are_those_of_kim_et_al() -> None:
    conv = torch.nn.Conv2d(64, 128, 3, padding=1, bias=False)
    site = Site("conv", conv, (64, 14, 14), (128, 14, 14))
    macs, weights = cost(site, (16, 32))
    assert weights == 64 * 16 + 9 * 16 * 32 + 128 * 32 == 9728  # S R3 + D^2 R3 R4 + T R4
    assert whole_cost(site) == (9 * 64 * 128 * 196, 9 * 64 * 128)
    factors = tucker2(conv, 16, 32)
    assert sum(p.numel() for p in factors.parameters()) == weights
    assert count_macs(factors, torch.zeros(1, 64, 14, 14)) == macs == weights * 196


def test_costs_of_a_stride_count_the_large_map_for_the_first_factor() -> None:
    conv = torch.nn.Conv2d(32, 48, 5, stride=2, padding=2, bias=False)
    site = Site("conv", conv, (32, 20, 20), (48, 10, 10))
    for ranks in ((8, 16), (32, 16), (8, 48)):
        assert count_macs(tucker2(conv, *ranks), torch.zeros(1, 32, 20, 20)) == cost(site, ranks)[0]


def test_costs_of_a_dense_layer_are_those_of_xue_et_al() -> None:
    site = Site("dense", torch.nn.Linear(784, 300), (784,), (300,))
    assert cost(site, (40,)) == (40 * (784 + 300), 40 * (784 + 300))


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30), st.floats(0.01, 1))
def test_energy_rank_is_the_smallest_that_keeps_the_share(values: list[float], frac: float) -> None:
    squared = np.sort(np.array(values))[::-1]
    rank = energy_rank(squared, frac)
    assert squared[:rank].sum() >= frac * squared.sum() * (1 - 1e-6)
    assert rank == 1 or squared[: rank - 1].sum() < frac * squared.sum()


@given(st.lists(st.tuples(st.integers(1, 99), st.floats(0, 1)), max_size=20))
def test_hull_costs_fall_and_slopes_rise(points: list[tuple[int, float]]) -> None:
    kept = hull([Option(None, 100, 0.0), *(Option((1,), cost, lost) for cost, lost in points)])
    slopes = [(b.lost_frac - a.lost_frac) / (a.cost - b.cost) for a, b in pairwise(kept)]
    assert all(one <= other + 1e-9 for one, other in pairwise(slopes))
    assert kept[-1].cost == min([100, *(cost for cost, _ in points)])


def test_only_what_gets_cheaper_is_factored() -> None:
    network, context = context_of(architectures.ResNet(channels=(16, 16), blocks=1))
    config = LowRank(0.25, rank_floor=8, round_to=8, training=ONE_EPOCH)
    factored, report = registry.apply(network, config, context)
    assert report.facts["layers_factored"] == 4  # the convolutions of two blocks, not the 1-channel stem
    assert report.facts["groups.0.0.first.0.rank_in"] == report.facts["groups.0.0.first.0.rank_out"] == 8
    assert report.facts["macs"] < report.facts["macs_before"]
    assert factored(torch.zeros(2, 1, 28, 28)).shape == (2, 4)


def test_pointwise_convolutions_are_factored_on_request() -> None:
    config = architectures.MobileNet(channels=(32, 64), strides=(1, 1), stem=16)
    counts = []
    for pointwise in (False, True):
        network, context = context_of(config)
        _, report = registry.apply(
            network, LowRank(0.25, None, round_to=8, rank_floor=8, pointwise=pointwise), context
        )
        counts.append(report.facts["layers_factored"])
    assert counts == [0, 2]


@pytest.mark.parametrize(("kind", "names"), [("conv", {"features.2"}), ("dense", {"head.1"})])
def test_kinds_says_which_layers_are_factored(kind: Any, names: set[str]) -> None:
    network, context = context_of(LENET)
    _, report = registry.apply(network, LowRank(0.25, rank_floor=1, round_to=1, kinds=(kind,)), context)
    factored = {fact.rpartition(".")[0] for fact in report.facts if ".rank" in fact}
    assert names <= factored
    assert all(name.startswith("features" if kind == "conv" else "head") for name in factored)


def test_vbmf_factors_a_network_whose_layers_are_signal_and_noise() -> None:
    network, context = context_of(LENET)
    dense = network.head[1]
    with torch.no_grad():
        dense.weight.copy_(torch.from_numpy(low_rank_matrix(64, 256, 5, 0.2)))
    _, report = registry.apply(network, LowRank(vbmf=True, rank_floor=1, round_to=1), context)
    assert report.facts["head.1.rank"] == 5


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["macs_frac", "parameters_frac"]), st.floats(0.35, 0.95))
def test_a_budget_is_kept_and_not_by_much(unit: str, frac: float) -> None:
    budget: dict[str, Any] = {unit: frac}
    network, context = context_of(LENET)
    step = replace(LowRank(1.0, rank_floor=1, round_to=1), rank_frac=None, **budget)
    _, report = registry.apply(network, step, context)
    name = unit.removesuffix("_frac")
    reached = report.facts[name] / report.facts[f"{name}_before"]
    assert frac - 0.08 < reached <= frac


def test_a_budget_spends_where_the_energy_is() -> None:
    network, context = context_of(architectures.Mlp(hidden=(64, 64)))
    first, second = (site.layer for site in sites(network, (1, 28, 28))[:2])
    with torch.no_grad():
        first.weight.copy_(torch.from_numpy(low_rank_matrix(64, 784, 3, 0.01)))
    answers = predict(copy.deepcopy(network), context.splits.test)[0]
    network, report = registry.apply(network, LowRank(parameters_frac=0.2, rank_floor=1, round_to=1), context)
    assert report.facts["features.1.rank"] >= 3
    assert "features.3.rank" not in report.facts
    torch.testing.assert_close(predict(network, context.splits.test)[0], answers, atol=0.1, rtol=0.05)
    assert second.weight.shape == (64, 64)


def test_a_budget_out_of_reach_is_refused_with_the_least() -> None:
    network, context = context_of(LENET)
    with pytest.raises(FoundryError, match=r"macs_frac 0.01 cannot be met.*the least is 0\.\d+"):
        registry.apply(network, LowRank(macs_frac=0.01, rank_floor=8), context)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (LENET, (1, 28, 28)),
        (
            architectures.ConvNet(channels=(16, 32), strides=(1, 2), pool=(True, False), hidden=32),
            (3, 32, 32),
        ),
        (architectures.ConvNet(channels=(16, 32), strides=(1, 1), pool=(True, True)), (6, 64)),
        (architectures.PooledResNet(channels=(16, 32), blocks=(1, 1), stem=16), (3, 32, 32)),
    ],
)
def test_factors_run_in_onnx_runtime_with_equal_answers(config: Any, shape: tuple[int, ...]) -> None:
    network, context = context_of(config, shape)
    step = LowRank(energy_frac=0.6, rank_floor=4, round_to=4, training=ONE_EPOCH)
    network, report = registry.apply(network, step, context)
    assert report.facts["layers_factored"] >= 1
    exported = export(network, shape, context.splits.input_name)
    ours, theirs = (
        predict(network, context.splits.test),
        logits_of_exits([exported.stages[0].onnx], context.splits.test),
    )
    np.testing.assert_allclose(theirs[0], ours[0].numpy(), atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [{}, {"rank_frac": 0.5, "vbmf": True}, {"energy_frac": 1.5}, {"macs_frac": 0.5, "parameters_frac": 0.5}],
)
def test_a_config_says_in_one_way_how_ranks_are_chosen(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"one of rank_frac|over 0 and at most 1"):
        LowRank(**fields)


def test_the_config_round_trips_through_yaml() -> None:
    recipe = VariantRecipe("small", (LowRank(vbmf=True, training=ONE_EPOCH), LowRank(macs_frac=0.5)))
    assert decode_text(encode(recipe, TAGS), VariantRecipe, TAGS) == recipe
