"""Records: immutable, cheap, and still what the functions of ``dataclasses`` expect."""

import copy
import dataclasses
import gc
import pickle

import msgspec
import pytest

from trimtab.core import commands, events
from trimtab.domain.decision import Outcome, Result
from trimtab.domain.record import Record, Word
from trimtab.domain.request import Prefer, Request

ONE = Request("r1", "digits", latency_budget_ns=5)


class Pair(Record, frozen=True):
    left: int
    right: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class PlainPair:
    left: int
    right: tuple[str, ...] = ()


def test_the_functions_of_dataclasses_work() -> None:
    other = dataclasses.replace(ONE, request_id="r2", batch=3)
    assert (other.request_id, other.batch, other.latency_budget_ns) == ("r2", 3, 5)
    assert (ONE.request_id, ONE.batch) == ("r1", 1)
    assert [one.name for one in dataclasses.fields(Pair)] == ["left", "right"]
    assert [one.type for one in dataclasses.fields(Pair(1))] == [int, tuple[str, ...]]
    assert dataclasses.asdict(Pair(1, ("a",))) == {"left": 1, "right": ("a",)}
    assert dataclasses.is_dataclass(ONE)
    with pytest.raises(TypeError, match="colour"):
        dataclasses.replace(ONE, colour=1)  # type: ignore[call-arg]


def test_it_looks_to_the_codec_and_to_people_like_the_dataclass_it_was() -> None:
    plain, pair = PlainPair(7, ("a", "b")), Pair(7, ("a", "b"))
    assert msgspec.json.encode(pair) == msgspec.json.encode(plain)
    assert msgspec.json.decode(msgspec.json.encode(plain), type=Pair) == pair
    assert repr(pair) == repr(plain).replace("PlainPair", "Pair")


def test_it_cannot_be_changed_and_compares_and_hashes_by_value() -> None:
    with pytest.raises(AttributeError):
        ONE.batch = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        ONE.more = 2  # type: ignore[attr-defined]
    assert {ONE: 1}[Request("r1", "digits", latency_budget_ns=5)] == 1
    assert pickle.loads(pickle.dumps(ONE)) == copy.deepcopy(ONE) == ONE


@pytest.mark.parametrize("base", [events.Event, commands.Command])
def test_no_event_or_command_costs_the_collector_a_look(base: type[Record]) -> None:
    kinds = base.__subclasses__()
    assert len(kinds) > 5
    for kind in kinds:
        assert kind.__struct_config__.frozen, kind
        assert not kind.__struct_config__.gc, kind
    assert not gc.is_tracked(Result("r", Outcome.DONE))


def test_words_hash_as_the_text_they_are() -> None:
    assert isinstance(Prefer.VALUE, Word)
    assert hash(Prefer.VALUE) == hash("value")
    assert {"value": 1}[Prefer.VALUE] == 1
