"""Events, commands and scheduler state as JSON bytes and back: strict, and the same bytes every time.

Fields come in the order of their class and dictionaries keep theirs, since the scheduler relies on it; sets
have no order and must not occur.

An item's type name is stored beside its body, so that a body holds nothing but the item's fields.
Fields that are missing take their defaults (an older journal stays readable); unknown fields, wrong types
and truncated bodies raise one error that names the type and the path inside it.
"""

import math
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from trimtab.core import commands, events
from trimtab.core.commands import Command
from trimtab.core.events import Event

T = TypeVar("T")


class CodecError(Exception):
    """A value cannot be encoded, or bytes are not a value of the type they claim; names type and path."""


def _walk(base: type[Any]) -> list[type[Any]]:
    found: list[type[Any]] = base.__subclasses__()
    return found + [deeper for cls in found for deeper in _walk(cls)]


def _registry() -> dict[str, type[Any]]:
    found: list[type[Any]] = sorted(
        _walk(events.Event) + _walk(commands.Command), key=lambda cls: cls.__name__
    )
    names = {cls.__name__: cls for cls in found}
    if len(names) != len(found):
        raise CodecError("two events or commands share a name")
    return names


TYPES: dict[str, type[Any]] = _registry()
"""Every event and command by type name, sorted."""


def _plain(value: object) -> object:
    """Return a scalar of another library (numpy's have ``item``) as Python's; raise ``TypeError``."""
    if callable(item := getattr(value, "item", None)):
        return item()
    raise TypeError(f"objects of type {type(value).__name__} cannot be stored")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(item: Event | Command) -> tuple[str, bytes]:
    """Return the type name and body of an event or command; raise ``CodecError``."""
    name = type(item).__name__
    if TYPES.get(name) is not type(item):
        raise CodecError(f"{name}: not a known event or command")
    body = encode_value(item)
    if b"null" in body:  # JSON has no infinity or NaN; msgspec writes null for them
        _refuse_non_finite(msgspec.to_builtins(item, str_keys=True, enc_hook=_plain), name, "$")
    return name, body


def decode(name: str, body: bytes) -> Event | Command:
    """Return the event or command that ``encode`` gave ``name`` and ``body`` for; raise ``CodecError``."""
    cls = TYPES.get(name)
    if cls is None:
        raise CodecError(f"{name}: not a known event or command")
    return cast(Event | Command, decode_value(cls, body))


def encode_value(value: object) -> bytes:
    """Return any dataclass (or plain value) as deterministic JSON; raise ``CodecError``.

    Floats must be finite. For speed that is checked only when reading back, and in ``encode``.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise CodecError(f"{type(value).__name__}: {error}") from error


def decode_value(cls: type[T], body: bytes) -> T:
    """Return the value of type ``cls`` in ``body``, refusing unknown fields; raise ``CodecError``."""
    name = getattr(cls, "__name__", str(cls))
    try:
        value = _decoder(cast(Hashable, cls)).decode(body)
        known = msgspec.to_builtins(value, str_keys=True)
        _refuse_unknown(msgspec.json.decode(body), known, name, "$")
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
        raise CodecError(f"{name}: {error}") from error
    return cast(T, value)


@lru_cache(maxsize=256)
def _decoder(cls: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls)


def _refuse_unknown(given: object, known: object, name: str, path: str) -> None:
    """Raise when ``given`` (parsed JSON) holds a field that the decoded value ``known`` has not."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key not in known:
                raise CodecError(f"{name}: unknown field - at `{path}.{key}`")
            _refuse_unknown(value, known[key], name, f"{path}.{key}")
    elif isinstance(given, list) and isinstance(known, (list, tuple)):
        for index, (inner, kept) in enumerate(zip(given, known, strict=False)):
            _refuse_unknown(inner, kept, name, f"{path}[{index}]")


def _refuse_non_finite(value: object, name: str, path: str) -> None:
    """Raise when a float anywhere inside ``value`` (builtins) is infinite or not a number."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CodecError(f"{name}: {value} cannot be stored - at `{path}`")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse_non_finite(inner, name, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _refuse_non_finite(inner, name, f"{path}[{index}]")
