import dataclasses
import math
import subprocess
import sys
import types
import typing
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.core import codec, commands, events
from trimtab.core.commands import Command, Load, SetTimer
from trimtab.core.events import DeviceChanged, Event, PolicyReplaced, StageFinished, TimerFired
from trimtab.domain.device import DeviceState
from trimtab.domain.family import ProfileSet
from trimtab.domain.policy import Condition, Policy

INT64 = st.integers(-(2**63), 2**63 - 1)


def values(tp: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return a strategy for any type that events and commands are made of."""
    plain: dict[Any, st.SearchStrategy[Any]] = {
        float: st.floats(allow_nan=False, allow_infinity=False),
        int: INT64,
        str: st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        bool: st.booleans(),
        bytes: st.binary(max_size=8),
        type(None): st.none(),
    }
    if tp in plain:
        return plain[tp]
    origin, args = typing.get_origin(tp), typing.get_args(tp)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(arg, depth) for arg in args])
    if origin is tuple and args[-1] is Ellipsis:
        if depth > 6:
            return st.just(())
        return st.lists(values(args[0], depth + 1), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*[values(arg, depth) for arg in args])
    if origin is list:
        return st.lists(values(args[0], depth), max_size=2)
    if origin is dict:
        return st.dictionaries(values(args[0], depth), values(args[1], depth), max_size=2)
    if isinstance(tp, type) and issubclass(tp, Enum):
        return st.sampled_from(list(tp))
    assert dataclasses.is_dataclass(tp), f"no strategy for {tp}"
    return st.deferred(lambda: dataclass_values(typing.cast(type, tp), depth))


def dataclass_values(tp: type, depth: int) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(tp)
    deep = depth + 1 + 2 * (tp is Condition)
    fields = {f.name: values(hints[f.name], deep) for f in dataclasses.fields(tp)}
    return st.builds(tp, **fields)


def declared() -> set[str]:
    found = set()
    for module, base in ((events, Event), (commands, Command)):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value is not base:
                found.add(value.__name__)
    return found


def test_every_event_and_command_is_known() -> None:
    assert set(codec.TYPES) == declared()
    assert len(codec.TYPES) >= 20


@pytest.mark.parametrize("name", sorted(codec.TYPES))
def test_round_trip(name: str) -> None:
    @settings(max_examples=15, deadline=None, database=None)
    @given(values(codec.TYPES[name]))
    def check(item: Any) -> None:
        told, body = codec.encode(item)
        assert told == name
        back = codec.decode(told, body)
        assert back == item
        assert codec.encode(back) == (told, body)

    check()


def test_same_bytes_in_another_process() -> None:
    code = (
        "from trimtab.core import codec, events; from trimtab.domain.policy import Policy;"
        "print(codec.encode(events.PolicyReplaced(Policy('p')))[1].hex())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {codec.encode(PolicyReplaced(Policy("p")))[1].hex() + "\n"}


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("Nothing", b"{}", ["Nothing", "not a known"]),
        ("Load", b'{"task":"a","variant":"b","pool":"c","x":1}', ["Load", "unknown field", "$.x"]),
        ("Load", b'{"task":1,"variant":"b","pool":"c"}', ["Load", "$.task", "str"]),
        ("Load", b'{"task":"a","variant":"b"}', ["Load", "pool"]),
        ("Load", b'{"task":"a","var', ["Load", "truncated"]),
        ("Load", b"", ["Load"]),
        ("Load", b"[]", ["Load", "array"]),
        ("Load", b"\xff\xfe", ["Load"]),
        ("SetTimer", b'{"at_ns":1.5}', ["SetTimer", "$.at_ns"]),
        ("DeviceChanged", b'{"device":{"sources":[["a"]]}}', ["DeviceChanged", "$.device.sources"]),
        (
            "PolicyReplaced",
            b'{"policy":{"name":"x","rules":[{"name":"r","when":{"y":1},"then":{}}]}}',
            ["PolicyReplaced", "$.policy.rules[0].when.y"],
        ),
    ],
)
def test_wrong_bodies_are_named(name: str, body: bytes, words: list[str]) -> None:
    with pytest.raises(codec.CodecError) as caught:
        codec.decode(name, body)
    for word in words:
        assert word in str(caught.value)


def test_missing_fields_take_defaults() -> None:
    assert codec.decode("PolicyReplaced", b'{"policy":{"name":"x"}}') == PolicyReplaced(Policy("x"))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_floats_are_refused(bad: float) -> None:
    with pytest.raises(codec.CodecError, match=r"\$\.device\.battery_frac"):
        codec.encode(DeviceChanged(DeviceState(battery_frac=bad)))
    with pytest.raises(codec.CodecError, match=r"\$\.device\.sources"):
        codec.encode(DeviceChanged(DeviceState(sources=((bad, "x"),))))  # type: ignore[arg-type]
    with pytest.raises(codec.CodecError, match=r"\$\[0\]"):
        codec.decode_value(list[float], codec.encode_value([bad]))


def test_what_is_not_an_item_is_refused() -> None:
    for wrong in (Policy("p"), Load, object(), Event()):
        with pytest.raises(codec.CodecError):
            codec.encode(typing.cast(Event, wrong))
    with pytest.raises(codec.CodecError):
        codec.encode(Load("\ud800", "a", "b"))
    with pytest.raises(codec.CodecError):
        codec.encode_value(object())


def test_a_class_of_the_same_name_is_refused() -> None:
    impostor = dataclasses.make_dataclass("Load", ["task"], frozen=True)
    with pytest.raises(codec.CodecError, match="Load"):
        codec.encode(impostor("x"))


def test_values() -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(values(ProfileSet))
    def check(value: Any) -> None:
        assert codec.decode_value(ProfileSet, codec.encode_value(value)) == value

    check()
    assert codec.decode_value(dict[int, str], codec.encode_value({1: "a"})) == {1: "a"}
    assert list(codec.decode_value(dict[str, int], codec.encode_value({"b": 1, "a": 2}))) == ["b", "a"]
    with pytest.raises(codec.CodecError):
        codec.decode_value(list[int], b'["a"]')


def test_scalars_of_numpy_become_pythons() -> None:
    item = StageFinished("r", 0, 1, typing.cast(float, np.float64(2.5)), typing.cast(float, np.float32(0.5)))
    assert codec.decode(*codec.encode(item)) == StageFinished("r", 0, 1, 2.5, 0.5)
    with pytest.raises(codec.CodecError, match=r"confidence"):
        codec.encode(StageFinished("r", 0, 1, 1.0, typing.cast(float, np.float32("nan"))))


def test_empty_bodies_and_big_numbers() -> None:
    assert codec.encode(TimerFired()) == ("TimerFired", b"{}")
    assert codec.decode(*codec.encode(SetTimer(2**63 - 1))) == SetTimer(2**63 - 1)
