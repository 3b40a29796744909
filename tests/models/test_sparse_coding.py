"""Sparse coding: pursuit and K-SVD recover what is sparse in a dictionary; zeros stay zero in training."""

from typing import Any

import numpy as np
import pytest

from trimtab_models.datasets.samples import Samples, Splits
from trimtab_models.decode import decode_text, encode
from trimtab_models.measure import count_parameters, logits_of_exits
from trimtab_models.recipe import TAGS, VariantRecipe
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import SparseCoding

torch = pytest.importorskip("torch")

from trimtab_models import architectures, registry  # noqa: E402  after the guard
from trimtab_models.architectures.frontends import Head  # noqa: E402
from trimtab_models.export import export  # noqa: E402
from trimtab_models.training import predict  # noqa: E402
from trimtab_models.transforms.sparse_coding import ksvd, pursue  # noqa: E402

pytestmark = pytest.mark.build

MLP = architectures.Mlp(hidden=(64, 32))
CONFIG = SparseCoding(atoms_frac=0.5, nonzeros=2, iterations=5)


@pytest.fixture
def context() -> registry.Context:
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (96, 1, 12, 12), dtype=np.uint8)
    samples = Samples(images, (images[:, 0, 0, 0] // 64).astype(np.uint8), np.arange(96))
    splits = Splits(samples, samples, samples, ("a", "b", "c", "d"), (0.5,), (0.3,))
    return registry.Context(splits, architectures.build(MLP, Head.of(splits), seed=5).eval(), seed=5)


def sparse_matrix(rows: int, atoms: int, columns: int, nonzeros: int) -> tuple[Any, Any]:
    """Return a dictionary and a matrix whose columns are combinations of ``nonzeros`` of its atoms."""
    chance = torch.Generator().manual_seed(nonzeros)
    dictionary = torch.randn(rows, atoms, generator=chance, dtype=torch.double)
    dictionary /= dictionary.norm(dim=0)
    codes = torch.zeros(atoms, columns, dtype=torch.double)
    for column in range(columns):
        used = torch.randperm(atoms, generator=chance)[:nonzeros]
        codes[used, column] = torch.randn(nonzeros, generator=chance, dtype=torch.double)
    return dictionary, dictionary @ codes


def missed_frac(matrix: Any, dictionary: Any, codes: Any) -> float:
    return float((matrix - dictionary @ codes).norm() / matrix.norm())


@pytest.mark.parametrize("nonzeros", [1, 2, 3])
def test_pursuit_is_exact_on_what_is_sparse_in_a_known_dictionary(nonzeros: int) -> None:
    dictionary, matrix = sparse_matrix(32, 16, 300, nonzeros)
    codes = pursue(matrix, dictionary, nonzeros)
    assert int(codes.count_nonzero(dim=0).max()) <= nonzeros
    assert missed_frac(matrix, dictionary, codes) < 1e-9


@pytest.mark.parametrize(("nonzeros", "seed"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_ksvd_learns_the_dictionary_from_the_columns(nonzeros: int, seed: int) -> None:
    dictionary, matrix = sparse_matrix(32, 16, 500, nonzeros)
    learned, codes = ksvd(matrix, 16, nonzeros, 30, seed)
    assert missed_frac(matrix, learned, codes) < 1e-4
    cosines = (learned.T @ dictionary).abs().amax(dim=0)
    assert float(cosines.min()) > 0.9999
    torch.testing.assert_close(learned.norm(dim=0), torch.ones(16, dtype=torch.double))


def test_ksvd_misses_less_with_more_nonzeros_and_repeats_by_seed() -> None:
    matrix = torch.randn(20, 100, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    missed = [missed_frac(matrix, *ksvd(matrix, 16, nonzeros, 5, 3)) for nonzeros in (1, 2, 4, 8)]
    assert missed == sorted(missed, reverse=True)
    for one, other in zip(ksvd(matrix, 16, 2, 5, 3), ksvd(matrix, 16, 2, 5, 3), strict=True):
        assert torch.equal(one, other)


def test_ksvd_bears_zero_and_repeated_columns() -> None:
    same, zero = torch.ones(6, 10, dtype=torch.double), torch.zeros(6, 10, dtype=torch.double)
    assert missed_frac(same, *ksvd(same, 4, 2, 3, 1)) < 1e-9
    dictionary, codes = ksvd(zero, 4, 2, 3, 1)
    assert torch.isfinite(dictionary).all()
    assert not codes.any()


def test_a_layer_sparse_in_a_dictionary_is_kept_without_training(context: registry.Context) -> None:
    network = context.reference
    with torch.no_grad():
        _, matrix = sparse_matrix(64, 32, 144, 1)
        network.features[1].weight.copy_(matrix)
    config = SparseCoding(atoms_frac=0.5, nonzeros=1)
    network, report = registry.apply(network, config, context)
    assert report.facts["features.1.lost_frac"] < 1e-4
    assert network.features[1][0].weight.shape == (32, 144)
    assert int(network.features[1][0].weight.count_nonzero(dim=0).max()) == 1


def test_zeros_stay_zero_in_training_and_parameters_are_counted_by_nonzeros(
    context: registry.Context,
) -> None:
    training = Training(epochs=1, batch=32, learning_rate=0.05)
    config = SparseCoding(atoms_frac=0.5, nonzeros=2, iterations=5, training=training)
    plain, _ = registry.apply(architectures.build(MLP, Head.of(context.splits), seed=5), CONFIG, context)
    network, report = registry.apply(
        architectures.build(MLP, Head.of(context.splits), seed=5), config, context
    )
    for position, (atoms, inputs, outputs) in ((1, (32, 144, 64)), (3, (16, 64, 32))):
        codes, dictionary = network.features[position]
        assert codes.weight.shape == (atoms, inputs)
        assert dictionary.weight.shape == (outputs, atoms)
        assert torch.equal(codes.weight != 0, plain.features[position][0].weight != 0)
        assert not torch.equal(codes.weight, plain.features[position][0].weight)
    nonzero = 2 * (144 + 64 + 32) + 64 * 32 + 32 * 16 + 4 * 4  # codes, dictionaries
    assert report.facts["layers_factored"] == 3
    assert report.facts["nonzero_macs"] == nonzero
    assert report.facts["nonzero_parameters"] == nonzero + 64 + 32 + 4
    onnx = export(network, context.splits.shape).stages[0].onnx
    assert count_parameters(onnx)[1] - report.facts["nonzero_parameters"] in range(3)  # mean and scale
    theirs = logits_of_exits([onnx], context.splits.test)[0]
    np.testing.assert_allclose(theirs, predict(network, context.splits.test)[0].numpy(), atol=1e-3)


@pytest.mark.parametrize("fields", [{"atoms_frac": 0.0}, {"nonzeros": 0}, {"iterations": 0}])
def test_impossible_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        SparseCoding(**{"atoms_frac": 0.5, "nonzeros": 2, **fields})


def test_the_config_round_trips_through_yaml() -> None:
    recipe = VariantRecipe("coded", (CONFIG,))
    assert decode_text(encode(recipe, TAGS), VariantRecipe, TAGS) == recipe
