"""The core knows no I/O, clock, chance or threads; and a device never needs torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trimtab.core

CORE = Path(trimtab.core.__path__[0])
FORBIDDEN = {
    "time",
    "random",
    "asyncio",
    "logging",
    "os",
    "yaml",
    "grpc",
    "torch",
    "onnxruntime",
    "threading",
}


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running ``code``."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.name)
def test_core_imports_nothing_impure(path: Path) -> None:
    assert not imported(path) & FORBIDDEN


def test_importing_the_scheduler_pulls_in_no_server_and_no_runtime() -> None:
    held = modules_after("import trimtab.core.scheduler")
    assert not held & {"torch", "onnxruntime", "grpc", "yaml", "sqlite3"}


@pytest.mark.parametrize("module", ["trimtab.app", "trimtab.cli.main", "trimtab_sim"])
def test_importing_the_daemon_never_imports_torch(module: str) -> None:
    assert "torch" not in modules_after(f"import {module}")
