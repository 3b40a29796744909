"""The policies that come with trimtab, and their schema, in a wheel as well as in a source checkout."""

from pathlib import Path

SCHEMA_FILE = "policy.schema.json"
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_policies_folder(package: Path = _PACKAGE) -> Path:
    """Return the folder of the shipped policies; raise ``FileNotFoundError`` for a broken installation."""
    folders = (package / "_shipped" / "policies", package.parents[1] / "policies")
    for folder in folders:
        if (folder / SCHEMA_FILE).is_file():
            return folder
    tried = " or ".join(str(folder) for folder in folders)
    raise FileNotFoundError(f"trimtab is installed without its policies: no {SCHEMA_FILE} in {tried}")


def shipped_policy_names() -> tuple[str, ...]:
    """Return the names of the shipped policies in alphabetical order."""
    return tuple(sorted(path.stem for path in shipped_policies_folder().glob("*.yaml")))
