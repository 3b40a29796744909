"""YAML to frozen dataclasses, strictly: every refusal names file, line and field."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import yaml

from trimtab_models.errors import DefinitionError

T = TypeVar("T")
Tags = Mapping[str, type]
"""Names under which the members of a union of dataclasses are written: ``{distill: {...}}``."""


def decode_file(path: Path, kind: type[T], tags: Tags) -> T:
    """Return the YAML file as ``kind``; raise ``DefinitionError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from error
    return decode_text(text, kind, tags, name=str(path))


def decode_text(text: str, kind: type[T], tags: Tags, *, name: str = "<text>") -> T:
    """Return the YAML text as ``kind``; ``name`` stands for the file in errors."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise DefinitionError(f"{name}: not YAML: {error}") from error
    if node is None:
        raise DefinitionError(f"{name}: is empty")
    return cast(T, _Decoder(name, tags).value(node, kind, ""))


def encode(value: object, tags: Tags) -> str:
    """Return a dataclass as YAML that :func:`decode_text` turns back into an equal one."""
    return yaml.safe_dump(_plain(value, {kind: tag for tag, kind in tags.items()}), sort_keys=False)


def _plain(value: object, names: Mapping[type, str]) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name), names) for f in dataclasses.fields(value)}
        return {names[type(value)]: fields} if type(value) in names else fields
    if isinstance(value, tuple):
        return [_plain(item, names) for item in value]
    return value


class _Decoder:
    """Walk YAML nodes and type hints together."""

    def __init__(self, name: str, tags: Tags) -> None:
        self.name = name
        self.tags = tags

    def value(self, node: yaml.Node, hint: Any, path: str) -> object:
        """Return ``node`` as a value of type ``hint``."""
        origin, members = typing.get_origin(hint), typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):
            return self._union(node, members, path)
        if dataclasses.is_dataclass(hint):
            return self._dataclass(node, cast(type, hint), path)
        if origin is tuple and isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, members[0], f"{path}[{i}]") for i, item in enumerate(node.value))
        try:
            return msgspec.convert(_construct(node), hint)
        except msgspec.ValidationError as error:
            raise self._error(node, path, str(error)) from None

    def _union(self, node: yaml.Node, members: tuple[Any, ...], path: str) -> object:
        kinds = [member for member in members if member is not type(None)]
        if len(kinds) < len(members) and node.tag == "tag:yaml.org,2002:null":
            return None
        if len(kinds) == 1:
            return self.value(node, kinds[0], path)
        known = {tag: kind for tag, kind in self.tags.items() if kind in kinds}
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            raise self._error(node, path, f"expected one of {', '.join(known)} with its settings")
        key, inner = node.value[0]
        if key.value not in known:
            raise self._error(key, path, f"unknown name {key.value!r}; known: {', '.join(known)}")
        return self._dataclass(inner, known[key.value], f"{path}.{key.value}")

    def _dataclass(self, node: yaml.Node, kind: type, path: str) -> object:
        if node.tag == "tag:yaml.org,2002:null":
            node = yaml.MappingNode("tag:yaml.org,2002:map", [], node.start_mark, node.end_mark)
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, path, f"expected the fields of {kind.__name__}")
        hints = typing.get_type_hints(kind)
        fields = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
        values: dict[str, object] = {}
        for key, inner in node.value:
            below = f"{path}.{key.value}".lstrip(".")
            if key.value not in fields:
                raise self._error(key, below, f"unknown field; known: {', '.join(fields)}")
            if key.value in values:
                raise self._error(key, below, "given twice")
            values[key.value] = self.value(inner, fields[key.value], below)
        return self._make(kind, values, node, path)

    def _make(self, kind: type, values: dict[str, object], node: yaml.Node, path: str) -> object:
        needed = [
            f.name
            for f in dataclasses.fields(kind)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        missing = [name for name in needed if name not in values]
        if missing:
            raise self._error(node, path, f"missing field: {', '.join(missing)}")
        try:
            return kind(**values)
        except ValueError as error:
            raise self._error(node, path, str(error)) from None

    def _error(self, node: yaml.Node, path: str, text: str) -> DefinitionError:
        where = path.lstrip(".") or "top level"
        return DefinitionError(f"{self.name}:{node.start_mark.line + 1}: {where}: {text}")


def _construct(node: yaml.Node) -> object:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()
