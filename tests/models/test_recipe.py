"""A family definition either is understood completely or refused with file, line and field."""

import re
from pathlib import Path

import pytest

from trimtab_models.architectures.configs import ConvNet
from trimtab_models.decode import decode_text, encode
from trimtab_models.errors import DefinitionError
from trimtab_models.imported import Imported
from trimtab_models.recipe import TAGS, Definition, load_definition, parse_definition
from trimtab_models.settings import Training
from trimtab_models.transforms.configs import (
    CONFIGS,
    Distill,
    EarlyExit,
    LowRank,
    PruneStructured,
    QuantizeInt8,
    TransformConfig,
)

FASHION = Path(__file__).parents[2] / "models" / "families" / "fashion"

SMALL = """\
format_version: 1
task: fashion
title: Clothes
seed: 1
last_resort: tiny
dataset: {name: fashion_mnist}
architecture:
  resnet: {channels: [16], blocks: 1}
training: {epochs: 1}
variants:
  - name: net
  - name: tiny
    recipe:
      - prune_structured: {keep_frac: 0.5}
      - quantize_int8:
"""

AT_STEP = r"my\.yaml:14: variants\[1\]\.recipe\[0\]"


def test_the_shipped_definition_survives_a_round_trip_through_yaml() -> None:
    definition = load_definition(FASHION)
    assert decode_text(encode(definition, TAGS), Definition, TAGS) == definition


@pytest.mark.parametrize(
    "config",
    [
        PruneStructured(0.5, training=Training(2, learning_rate=0.01)),
        LowRank(0.25, rank_floor=8),
        EarlyExit(Training(1), loss_weights=(0.5, 1.0), thresholds=(0.8,)),
        Distill(Training(3, teacher_frac=0.7), ConvNet(channels=(16,), strides=(1,), pool=(True,))),
        Distill(Training(3, teacher_frac=1.0)),
        QuantizeInt8(per_channel=False),
    ],
    ids=lambda config: type(config).__name__,
)
def test_every_config_survives_a_round_trip_through_yaml(config: TransformConfig) -> None:
    tagged = encode((config,), TAGS)
    assert decode_text(tagged, tuple[TransformConfig, ...], TAGS) == (config,)


def test_every_transform_has_a_module_of_its_name() -> None:
    folder = Path(load_definition.__code__.co_filename).parent / "transforms"
    assert set(CONFIGS) <= {path.stem for path in folder.glob("*.py")}


def test_a_step_without_settings_takes_the_defaults() -> None:
    assert parse_definition(SMALL).variants[1].recipe[1] == QuantizeInt8()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("keep_frac", "keep_fraction", AT_STEP + r"\.prune_structured\.keep_fraction: unknown field"),
        ("keep_frac: 0.5", "keep_frac: half", AT_STEP + r"\.prune_structured\.keep_frac: Expected `float`"),
        ("keep_frac: 0.5", "keep_frac: 1.5", r"my\.yaml:14: .*keep_frac must be over 0 and at most 1"),
        ("keep_frac: 0.5", "", r"my\.yaml:14: .*missing field: keep_frac"),
        ("prune_structured", "prune", AT_STEP + r": unknown name 'prune'; known: .*prune_structured"),
        ("{epochs: 1}", "{epochs: 0}", r"my\.yaml:1: top level: training or trainer: exactly one of them"),
        ("epochs: 1", "epochs: 1, epochs: 2", r"my\.yaml:9: training\.epochs: given twice"),
        ("seed: 1", "seed: one", r"my\.yaml:4: seed: Expected `int`"),
        ("seed: 1\n", "", r"my\.yaml:1: top level: missing field: seed"),
        ("version: 1", "version: 9", r"my\.yaml:1: top level: format_version 9 is not 1"),
        ("name: tiny", "name: Tiny Net", r"my\.yaml:12: variants\[1\]: name 'Tiny Net' is not lower-case"),
        ("resort: tiny", "resort: small", r"last_resort 'small' is no variant; they are: net, tiny"),
        ("name: net", "name: tiny", r"named twice: tiny"),
        ("fashion_mnist", "mnist_3d", r"my\.yaml: dataset\.name: unknown 'mnist_3d'"),
        ("task: fashion", "task: [", r"my\.yaml: not YAML"),
    ],
)  # fmt: skip
def test_a_refusal_names_file_line_and_field(old: str, new: str, expected: str) -> None:
    with pytest.raises(DefinitionError, match=expected):
        parse_definition(SMALL.replace(old, new, 1), "my.yaml")


def test_training_after_quantisation_is_refused() -> None:
    text = SMALL + "      - low_rank: {rank_frac: 0.5}\n"
    with pytest.raises(DefinitionError, match="low_rank cannot follow quantize_int8"):
        parse_definition(text)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "family.yaml"
    with pytest.raises(DefinitionError, match=re.escape(f"{missing}: cannot be read")):
        load_definition(missing)


OWN = """\
  import: {path: "own.net:MyNet", arguments: {width: 3, names: [a, b]}}
"""


def test_imported_networks_and_data_survive_a_round_trip_through_yaml() -> None:
    text = SMALL.replace("  resnet: {channels: [16], blocks: 1}\n", OWN)
    text = text.replace("name: fashion_mnist", 'name: "own.data:load", arguments: {size: 5}')
    definition = parse_definition(text)
    assert definition.architecture == Imported("own.net:MyNet", {"width": 3, "names": ["a", "b"]})
    assert definition.dataset.imported
    assert decode_text(encode(definition, TAGS), Definition, TAGS) == definition
