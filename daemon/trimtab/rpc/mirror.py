"""Copies a dataclass into the message of the same shape, and back, field by field by name.

Used by the control plane, where a second hand-written copy of every field would only be a place to
forget one. Members of enums travel as their lower-case names.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
D = TypeVar("D")


def fill(message: M, value: object) -> M:
    """Copy into every field of ``message`` the attribute of that name of ``value``; return ``message``."""
    for field in message.DESCRIPTOR.fields:
        content = getattr(value, field.name, None)
        if content is None:
            continue
        if isinstance(content, tuple | list | dict):
            _fill_many(getattr(message, field.name), content)
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), content)
        else:
            setattr(message, field.name, _scalar(content))
    return message


def read(kind: type[D], message: Message) -> D:
    """Return the dataclass ``kind`` with the content of ``message``."""
    hints = _hints(typing.cast(Any, kind))
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        optional = _without_none(hint)
        if optional is not None and not message.HasField(name):
            values[name] = None
        else:
            values[name] = _read(optional or hint, getattr(message, name))
    return kind(**values)


def _fill_many(target: Any, content: Any) -> None:
    if hasattr(target, "items"):
        target.update(dict(content))
    elif hasattr(target, "add"):
        for item in content:
            fill(target.add(), item)
    else:
        target.extend(_scalar(item) for item in content)


def _scalar(value: Any) -> Any:
    return value.name.lower() if isinstance(value, Enum) else value


def _read(hint: Any, content: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(content, Mapping):
        return dict(content) if origin is dict else tuple(sorted(content.items()))
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in content)
    if isinstance(content, Message):
        return read(hint, content)
    return hint[content.upper()] if issubclass(hint, Enum) else content


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return None
    return next(argument for argument in typing.get_args(hint) if argument is not type(None))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
