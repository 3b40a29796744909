"""What pip installs is whole: packages, policies and families, and nothing of the workshop."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_FAMILIES_BYTES = 25_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return next(folder.glob("trimtab-*.whl"))


def test_the_wheel_holds_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {entry.filename: entry.file_size for entry in archive.infolist()}
    for name in (
        "trimtab/py.typed",
        "trimtab/core/scheduler.py",
        "trimtab/rpc/pb/descriptors.binpb",
        "trimtab_models/__init__.py",
        "trimtab_sim/kernel.py",
        "trimtab/_shipped/policies/balanced.yaml",
        "trimtab/_shipped/policies/policy.schema.json",
        "trimtab/_shipped/families/fashion/manifest.json",
        "trimtab_sim/_shipped/devices/oriole.yaml",
        "trimtab_sim/_shipped/catalogues/published_variants.csv",
        "trimtab_sim/scenario/scenario.schema.json",
        "trimtab_sim/sweep/sweep.schema.json",
    ):
        assert name in files, name
    top = {name.split("/")[0] for name in files if not name.split("/")[0].endswith(".dist-info")}
    assert top == {"trimtab", "trimtab_models", "trimtab_sim"}
    assert not [name for name in files if ".build" in name or name.endswith((".pt", ".partial", ".pyc"))]
    families = sum(size for name, size in files.items() if "_shipped/families" in name)
    assert families <= MAX_FAMILIES_BYTES


def test_what_is_installed_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "import trimtab, trimtab.adapters.family_store as f, trimtab.policy as p;"
        "print(trimtab.__file__, len(f.FolderStore((f.shipped_families(),)).families()), *p.shipped_policy_names())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    where, families, *policies = done.stdout.split()
    assert where.startswith(str(tmp_path))
    assert int(families) >= 1
    assert policies == ["balanced", "battery-saver", "best-accuracy", "low-latency"]
