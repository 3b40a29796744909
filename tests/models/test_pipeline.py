"""What a user sees when a build cannot start."""

from pathlib import Path

import pytest

from trimtab_models import DefinitionError, FoundryError, MissingBuildExtra, build_family
from trimtab_models.__main__ import main
from trimtab_models.family import read_manifest
from trimtab_models.pipeline import require_extra

FASHION = Path(__file__).parents[2] / "models" / "families" / "fashion"


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingBuildExtra, match=r"'no_such_package': pip install 'trimtab\[build\]'"):
        require_extra(["no_such_package"])


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(FoundryError, match="no variant 'vgg'; it has: resnet, "):
        build_family(FASHION, only=["vgg"])


def test_a_missing_definition_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot be read"):
        build_family(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(FoundryError, match=r"manifest\.json: cannot be read"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"task": 3}')
    with pytest.raises(FoundryError, match=r"manifest\.json: .*task"):
        read_manifest(tmp_path)


def test_the_command_line_reports_errors_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "family.yaml")]) == 1
    assert "cannot be read" in capsys.readouterr().err.replace("\n", " ")
