"""Finds the catalogues that ship with trimtab."""

from pathlib import Path
from typing import Final

README: Final = "README.md"
_PACKAGE: Final = Path(__file__).resolve().parents[1]


def shipped_catalogues(package: Path = _PACKAGE) -> Path:
    """Return the folder of the shipped catalogues; raise ``FileNotFoundError`` for a broken installation."""
    folders = (package / "_shipped" / "catalogues", package.parent / "catalogues")
    for folder in folders:
        if (folder / README).is_file():
            return folder
    tried = " or ".join(str(folder) for folder in folders)
    raise FileNotFoundError(f"trimtab is installed without its catalogues: no {README} in {tried}")
