"""Validate a document's structure against the JSON Schema that editors use too."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from trimtab.policy.errors import Path, shorten
from trimtab.policy.shipped import SCHEMA_FILE, shipped_policies_folder

MAX_PROBLEMS: Final = 100

Finding = tuple[Path, bool, str]
"""A path, whether its key (rather than its value) is to blame, and what is wrong."""


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """Return the JSON Schema of policies."""
    text = (shipped_policies_folder() / SCHEMA_FILE).read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def structural_findings(data: object) -> list[Finding]:
    """Return what the schema has against ``data``: at most ``MAX_PROBLEMS``, without repetitions."""
    return findings_of(_validator(), data)


def findings_of(validator: Any, data: object) -> list[Finding]:
    """Return what a validator made by ``validator_of`` has against ``data``, in words for its author."""
    if isinstance(data, dict) and "version" in data and not _is_known_version(data["version"]):
        message = f"this trimtab reads version 1, not {describe(data['version'])}"
        return [(("version",), False, message)]
    found = (finding for error in validator.iter_errors(data) for finding in _findings(error))
    return list(dict.fromkeys(islice(found, MAX_PROBLEMS)))


def validator_of(schema: Mapping[str, Any]) -> Any:
    """Return a validator; ``uniqueItems`` is replaced because the library's is quadratic."""
    return extend(Draft202012Validator, {"uniqueItems": _unique})(schema)


def describe(value: object) -> str:
    """Return what a value is, short enough for one line."""
    match value:
        case None:
            return "nothing (leave the key out, or fill it in)"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return shorten(repr(value))
        case str():
            return f"the text {json.dumps(shorten(value), ensure_ascii=False)}"
        case dict() | list():
            kind = "mapping" if isinstance(value, dict) else "list"
            return f"a {kind} of {len(value)}" if value else f"an empty {kind}"
        case _:
            raise TypeError(type(value))


def nearest(name: str, known: list[str]) -> str:
    """Return a hint which known name was meant, or which ones there are."""
    if close := get_close_matches(name[:64], known, n=1, cutoff=0.6):
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _is_known_version(version: object) -> bool:
    """Return whether this trimtab can judge the document, or the schema should speak about its type."""
    return version == 1 or not isinstance(version, int)


@lru_cache(maxsize=1)
def _validator() -> Any:
    """Return the validator of policies."""
    return validator_of(schema())


def _unique(_: object, wanted: bool, items: object, __: object) -> Iterator[ValidationError]:
    """Yield an error that names what stands twice in a list."""
    if not wanted or not isinstance(items, list):
        return
    counts = Counter(json.dumps(item, sort_keys=True) for item in items)
    if twice := [text for text, count in counts.items() if count > 1]:
        yield ValidationError(f"{describe(json.loads(twice[0]))} stands here twice")


def _findings(error: ValidationError) -> Iterator[Finding]:
    """Yield what one error of the library means to an operator."""
    path = tuple(error.absolute_path)
    match error.validator:
        case "additionalProperties":
            yield from _unknown_keys(error, path)
        case "required":
            for name in error.validator_value:
                if name not in error.instance:
                    yield path, True, f"{name} is missing"
        case "dependentRequired":
            for name, needed in error.validator_value.items():
                if name in error.instance:
                    yield from (((*path, name), True, f"{name} needs {other} beside it") for other in needed)
        case "not":
            yield path, False, error.validator_value["errorMessage"]
        case "uniqueItems":
            yield path, False, error.message
        case _:
            yield path, False, _unexpected(error)


def _unknown_keys(error: ValidationError, path: Path) -> Iterator[Finding]:
    """Yield one finding per key the schema does not know."""
    known = list(error.schema.get("properties", {}))
    patterned = error.schema.get("patternProperties", {})
    extras = [key for key in error.instance if key not in known and not _fits(key, patterned)]
    for key in extras[:MAX_PROBLEMS]:
        if key == "<<":
            message = "merge keys (<<) are not supported; write the settings out"
        elif patterned and "keyMessage" in error.schema:
            message = f"{error.schema['keyMessage']}, not {describe(key)}"
        elif patterned:
            message = f"{shorten(key)!r} cannot be a name: use letters, digits, dots, dashes or underscores"
        else:
            message = f"unknown key {shorten(key)!r}{nearest(key, known)}"
        yield (*path, key), True, message


def _fits(key: str, patterned: Mapping[str, object]) -> bool:
    """Return whether a key matches one of the schema's key patterns."""
    return any(re.search(pattern, key) for pattern in patterned)


def _unexpected(error: ValidationError) -> str:
    """Return what was expected, what stands there instead, and the likely slip."""
    expected = error.schema.get("errorMessage", shorten(error.message, 200))
    value = error.instance
    return f"{expected}, not {describe(value)}{_slip(error.schema, value)}"


def _slip(part: Mapping[str, Any], value: object) -> str:
    """Return a hint for slips that are easy to name: a lost percent sign, lost quotes, a near word."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if "fraction" in part.get("title", "").lower() and 1 < value <= 100:
            return f"; did you mean {value} %?"
        return (
            f'; to mean the text, quote it: "{shorten(str(value))}"' if part.get("type") == "string" else ""
        )
    words = [word for word in _words(part) if isinstance(word, str)]
    if isinstance(value, str) and (close := get_close_matches(value[:64], words, n=1)):
        return f"; did you mean {close[0]}?"
    return ""


def _words(part: Mapping[str, Any]) -> list[object]:
    """Return the words a schema part allows."""
    inner: list[object] = [word for option in part.get("anyOf", ()) for word in option.get("enum", ())]
    return [*part.get("enum", ()), *inner]
