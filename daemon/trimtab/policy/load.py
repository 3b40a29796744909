"""Read a policy: text, parse, check, build. All problems come in one ``PolicyError``."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

from trimtab.domain.policy import Policy
from trimtab.policy.build import build_policy
from trimtab.policy.checks import cross_findings
from trimtab.policy.document import MAX_BYTES, Node, parse_document
from trimtab.policy.errors import PolicyError, Problem, spell
from trimtab.policy.shipped import shipped_policies_folder, shipped_policy_names
from trimtab.policy.structure import MAX_PROBLEMS, Finding, structural_findings

_SUFFIXES: Final = (".yaml", ".yml", ".json")


def load_policy(text: str, name: str = "<string>") -> Policy:
    """Return the policy in ``text``; raise ``PolicyError`` with every problem, placed in file ``name``."""
    root, problems = parse_document(text, name)
    data = root.plain()
    found = structural_findings(data)
    spoilt = {path for path, _, _ in found}
    found += [finding for finding in cross_findings(data) if finding[0] not in spoilt]
    problems += tuple(place(found, root, name))
    if problems:
        ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.message))
        raise PolicyError(ordered[:MAX_PROBLEMS])
    return build_policy(cast("dict[str, Any]", data))


def load_policy_file(path: str | Path) -> Policy:
    """Return the policy in a file; raise ``PolicyError``, also when the file cannot be read."""
    return load_policy(read_policy_text(path), str(path))


def read_policy_text(path: str | Path) -> str:
    """Return a policy file's text; raise ``PolicyError`` if it is unreadable, too large or not UTF-8."""
    try:
        with Path(path).open("rb") as file:
            return decode(file.read(MAX_BYTES + 1), str(path))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PolicyError([Problem(str(path), 0, 0, "", f"cannot be read: {reason}")]) from error


def decode(raw: bytes, file: str) -> str:
    """Return a policy file's bytes as text; raise ``PolicyError`` if they are not UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) > MAX_BYTES:  # cut in the middle of a character; the size is the real problem
            return raw.decode("utf-8", "replace")
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        message = f"not UTF-8: byte 0x{raw[error.start]:02X}"
        raise PolicyError([Problem(file, line, column, "", message)]) from error


def resolve_name(name: str | Path) -> Path:
    """Return the file of a shipped policy (``balanced``) or of a path; raise ``PolicyError`` if none exists.

    A bare word is a shipped policy's name first; write ``./balanced`` for a file called so.
    """
    shipped = shipped_policy_names()
    if str(name) in shipped:
        return shipped_policies_folder() / f"{name}.yaml"
    path = Path(name).expanduser()
    if path.exists():
        return path
    close = get_close_matches(str(name), shipped, n=1)
    hint = f"did you mean {close[0]}?" if close else f"shipped policies: {', '.join(shipped)}"
    kind = "no such file" if path.parent != Path() or path.suffix in _SUFFIXES else "no such policy or file"
    raise PolicyError([Problem(str(name), 0, 0, "", f"{kind}; {hint}")])


def place(found: Iterable[Finding], root: Node, file: str) -> Iterable[Problem]:
    """Yield findings as problems with their places in the document."""
    for path, at_key, message in found:
        mark = root.locate(path, at_key)
        yield Problem(file, mark.line, mark.column, spell(path), message)
