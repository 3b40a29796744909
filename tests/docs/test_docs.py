"""What the documents claim is true: links lead somewhere, examples run, commands exist."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from trimtab.cli.main import main
from trimtab.policy import load_policy

ROOT = Path(__file__).parent.parent.parent
SKIPPED = {"tests", "node_modules"}
FOLDERS = [p for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in SKIPPED]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in folder.rglob("*.md"))])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words after it, its text and where it stands."""

    language: str
    text: str
    where: str


def blocks() -> Iterator[Block]:
    for path in DOCUMENTS:
        content = path.read_text()
        for found in FENCE.finditer(content):
            line = content.count("\n", 0, found.start()) + 1
            yield Block(found[1].strip(), found[2], f"{path.relative_to(ROOT)}:{line}")


BLOCKS = list(blocks())
PYTHON = [block for block in BLOCKS if block.language.startswith("python")]
SHELL = [block for block in BLOCKS if block.language in ("bash", "console", "sh", "shell")]
YAML = [block for block in BLOCKS if block.language == "yaml"]


def commands() -> Iterator[tuple[str, str]]:
    """Yield every ``trimtab ...`` line of every shell block, without prompt and comment, and where it is."""
    for block in SHELL:
        for line in block.text.replace("\\\n", " ").splitlines():
            command = line.strip().removeprefix("$ ")
            if command.startswith("trimtab "):
                yield shlex.join(shlex.split(command, comments=True)), block.where


COMMANDS = list(commands())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    prose = FENCE.sub("", path.read_text())
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (path.parent / name).resolve() if name else path
        assert place.exists(), f"{path.name} links to {target}, which is not there"
        if anchor and place.suffix == ".md":
            assert anchor in {_slug(h) for h in HEADING.findall(place.read_text())}, (
                f"{target}: no such heading"
            )


def _slug(heading: str) -> str:
    """Return the anchor that renderers give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.where)
def test_python_examples_run(
    block: Block, daemon: Any, daemon_environment: dict[str, str], tmp_path: Path
) -> None:
    env = daemon_environment | {"TRIMTAB_ADDRESS": daemon.address}
    command = [sys.executable, "-W", "error", "-c", block.text]
    told = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, f"{block.where}\n{told.stderr}"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run(path: Path, daemon: Any, daemon_environment: dict[str, str], tmp_path: Path) -> None:
    env = daemon_environment | {"TRIMTAB_ADDRESS": daemon.address}
    command = [sys.executable, "-W", "error", str(path), daemon.address]
    told = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip()


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.where)
def test_policies_in_documents_are_valid(block: Block) -> None:
    """A block that has a version and a name is meant as a whole policy; others are parts of one."""
    if re.search(r"^version:", block.text, re.MULTILINE) and re.search(r"^name:", block.text, re.MULTILINE):
        load_policy(block.text, block.where)


@pytest.mark.parametrize(("command", "where"), COMMANDS, ids=[f"{w} {c}" for c, w in COMMANDS])
def test_commands_are_accepted(command: str, where: str) -> None:
    """Parse each shown command with the real parser: names, options and values must exist."""
    arguments = [a for a in shlex.split(command)[1:] if not a.startswith("#")]
    _parse(main, "trimtab", arguments)


def _parse(command: click.Command, name: str, arguments: list[str]) -> None:
    """Take arguments apart as the command would, down to the last subcommand, and run nothing."""
    try:
        context = command.make_context(name, list(arguments), resilient_parsing=False)
    except click.exceptions.Exit:  # --help and --version do their work while being parsed
        return
    except click.BadParameter as error:
        if "does not exist" not in error.message:  # a reader's own file
            raise
        return
    with context:
        if isinstance(command, click.Group):
            sub, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            assert sub is not None
            _parse(found, sub, rest)


RUN: dict[str, Callable[[Any], list[str]]] = {
    "trimtab status": lambda daemon: ["status", "--address", daemon.address],
    "trimtab explain": lambda daemon: ["explain", "--address", daemon.address],
    "trimtab policy list": lambda _: ["policy", "list"],
    "trimtab family show fashion": lambda daemon: ["family", "show", "fashion", "--state", str(daemon.state)],
}


@pytest.mark.parametrize("command", RUN)
def test_the_first_commands_of_the_readme_run(
    command: str, daemon: Any, daemon_environment: dict[str, str], samples: Any
) -> None:
    with daemon.client() as client:
        client.infer("fashion", samples[0][:1], latency_budget_ms=1000)
    told = subprocess.run(
        [sys.executable, "-m", "trimtab", *RUN[command](daemon)],
        env=daemon_environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip()


def test_every_language_is_known() -> None:
    """A block that no test here looks at would rot: new languages must be added on purpose."""
    known = {"", "bash", "console", "sh", "shell", "yaml", "toml", "json", "text", "mermaid", "proto", "make"}
    for block in BLOCKS:
        language = block.language.partition(" ")[0]
        assert language == "python" or language in known, f"{block.where}: {language!r}"
        if language == "json":
            json.loads(block.text)


def test_every_transform_is_documented() -> None:
    from trimtab_models.transforms.configs import CONFIGS

    told = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "transforms.md").read_text(), re.MULTILINE))
    assert told == set(CONFIGS)
