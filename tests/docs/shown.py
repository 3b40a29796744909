"""What a document shows of its commands: run them, compare, or write it anew.

``python tests/docs/shown.py [--write] DOCUMENT`` runs every ```` ```console ```` block of the document, in order, in
one shell that begins in a copy of the project's folder of examples. A line that begins with ``$ `` is a command, what
follows is its output. ``...`` stands for lines that are left out. After ``console live`` the figures depend
on the machine: there only the words at the beginning of each line have to be printed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```console( live)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "..."
TIMEOUT_S = 600


@dataclass(frozen=True)
class Shown:
    """A command, what the document shows of its output, and whether the figures are this machine's."""

    command: str
    lines: tuple[str, ...]
    live: bool


def commands_of(text: str) -> list[Shown]:
    """Return every command of a document with the output shown below it."""
    found: list[Shown] = []
    for block in FENCE.finditer(text):
        for line in block[2].replace("\\\n", "\\\0").splitlines():
            if line.startswith("$ "):
                found.append(Shown(line[2:].replace("\0", "\n"), (), bool(block[1])))
            else:
                found[-1] = replace(found[-1], lines=(*found[-1].lines, line))
    return found


def printed(shown: Sequence[Shown], folder: Path) -> list[list[str]]:
    """Run the commands in one shell inside ``folder`` and return each one's output; raise if one fails."""
    place = folder / "project"
    shutil.copytree(ROOT / "examples", place / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("simulator", "policies", "families"):
        (place / name).symlink_to(ROOT / name)
    tools = folder / "bin"
    tools.mkdir()
    for name, words in (("trimtab", "-m trimtab"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    script = [f'cd "{place}"']
    for number, one in enumerate(shown):
        script += [f"exec >{folder}/{number}.out 2>{folder}/{number}.err", one.command]
        script += [f"echo $? >{folder}/{number}.rc"]
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    own = {"XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "120"}
    text = "\n".join([*script, "wait"])
    subprocess.run(["bash", "-c", text], env=os.environ | own | {"PATH": path}, timeout=TIMEOUT_S, check=True)
    for number, one in enumerate(shown):
        code, error = (folder / f"{number}.rc").read_text().strip(), (folder / f"{number}.err").read_text()
        if code != "0":
            raise RuntimeError(f"{one.command}: exit code {code}\n{error}")
    return [(folder / f"{n}.out").read_text().splitlines() for n in range(len(shown))]


def matches(one: Shown, output: Sequence[str]) -> bool:
    """Return whether the output is what is shown, with lines left out only where the document says so."""
    expected, rest = list(one.lines), [line.rstrip() for line in output]
    if one.live:
        beginnings = [_beginning(line) for line in rest]
        return all(line == LEFT_OUT or _beginning(line) in beginnings for line in expected)
    free = False
    for line in expected:
        if line == LEFT_OUT:
            free = True
        elif line in rest if free else rest[:1] == [line]:
            rest = rest[rest.index(line) + 1 :]
            free = False
        else:
            return False
    return free or not rest


def anew(one: Shown, output: Sequence[str]) -> tuple[str, ...]:
    """Return what to show now: the lines that begin as those shown did, or all if none were left out."""
    rest = [line.rstrip() for line in output]
    if LEFT_OUT not in one.lines:
        return tuple(rest)
    wanted = {_beginning(line) for line in one.lines if line not in ("", LEFT_OUT)}
    kept: list[str] = []
    for line in rest:
        if _beginning(line) in wanted or (not line and kept[-1:] != [LEFT_OUT]):
            kept.append(line)
        elif line and kept[-1:] != [LEFT_OUT]:
            kept.append(LEFT_OUT)
    return tuple(kept)


def rewritten(text: str, outputs: Sequence[Sequence[str]]) -> str:
    """Return the document with every output as it is now."""
    fresh = iter([(one, anew(one, out)) for one, out in zip(commands_of(text), outputs, strict=True)])

    def block(found: re.Match[str]) -> str:
        lines: list[str] = []
        for _ in range(len(commands_of(found[0]))):
            one, shown = next(fresh)
            lines += [f"$ {one.command}", *shown]
        return "\n".join([f"```console{found[1] or ''}", *lines, "```"])

    return FENCE.sub(block, text)


def _beginning(line: str) -> str:
    """Return the words a line begins with, up to a figure, a colon or two spaces."""
    return re.split(r"\s{2,}|\d|:", line.strip(), maxsplit=1)[0].strip()


def main() -> int:
    """Compare or write the documents named; exit code 1 when one shows something else."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("documents", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true", help="write what is printed now")
    options = parser.parse_args()
    wrong = 0
    for path in options.documents:
        text = path.read_text()
        shown = commands_of(text)
        with tempfile.TemporaryDirectory() as folder:
            outputs = printed(shown, Path(folder))
        if options.write:
            path.write_text(rewritten(text, outputs))
            continue
        for one, output in zip(shown, outputs, strict=True):
            if not matches(one, output):
                wrong += 1
                sys.stdout.write("\n".join([f"{path}: {one.command}", *output, ""]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
