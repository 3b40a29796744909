"""What all values that are made per request have in common: immutable, and cheap to make.

A frozen dataclass stores each field through ``object.__setattr__``: a decision of 20 fields takes 2 us. As
a ``msgspec.Struct`` it takes a thirtieth of that, and the functions of ``dataclasses`` (``replace``,
``fields``, ``asdict``) still work on it.
"""

import dataclasses
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

import msgspec

_Fields = dict[str, dataclasses.Field[Any]]


@cache
def _fields_of(kind: type[msgspec.Struct]) -> _Fields:
    """Return what ``dataclasses`` would keep of a class with these fields."""
    told = [(one.name, one.type, dataclasses.field()) for one in msgspec.structs.fields(kind)]
    fields: _Fields = dataclasses.make_dataclass(kind.__name__, told).__dict__["__dataclass_fields__"]
    return fields


class _FieldsOfOwner:
    """Answers ``dataclasses`` for whichever class is asked; worked out when first asked."""

    def __get__(self, _instance: object, owner: type[msgspec.Struct]) -> _Fields:
        return _fields_of(owner)


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of immutable values. They hold no reference to themselves, so that no collector need look."""

    __dataclass_fields__: ClassVar[_FieldsOfOwner] = _FieldsOfOwner()


class Word(StrEnum):
    """Base of closed vocabularies; hashed as the text that it is, which needs no call into Python."""

    __hash__ = str.__hash__
