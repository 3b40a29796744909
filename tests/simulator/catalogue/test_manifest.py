import dataclasses
import shutil
from pathlib import Path

import pytest

from trimtab.adapters.family_store import load_family, shipped_families, write_family
from trimtab.adapters.profile_store import ProfileStore
from trimtab.domain.quantities import Source
from trimtab_sim.catalogue import CatalogueError, load_catalogue


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped_families() / "fashion", tmp_path / "fashion"))


def test_a_manifest_comes_with_its_own_profiles(fashion: Path) -> None:
    family = load_family(fashion).family
    catalogue = load_catalogue(fashion)
    assert catalogue.families == (family,)
    assert family.profiles is not None
    assert catalogue.profiles == {"fashion": family.profiles.profiles}
    assert {one.name for one in catalogue.processors} == {one.processor for one in family.profiles.profiles}
    assert load_catalogue(fashion / "manifest.json").families == (family,)


def test_a_folder_of_families_is_one_catalogue(fashion: Path) -> None:
    catalogue = load_catalogue(fashion.parent)
    assert [family.task for family in catalogue.families] == ["fashion"]


def test_profiles_that_a_daemon_keeps_replace_them(fashion: Path, tmp_path: Path) -> None:
    family = load_family(fashion).family
    assert family.profiles is not None
    slower = tuple(
        dataclasses.replace(one, stage_latency_ns=tuple(2 * ns for ns in one.stage_latency_ns))
        for one in family.profiles.profiles
    )
    kept = dataclasses.replace(family.profiles, profiles=slower)
    ProfileStore(tmp_path / "kept").save(family, (), kept)
    for option in ("../kept", "../kept/fashion.json"):
        catalogue = load_catalogue(fashion, profiles=option)
        assert catalogue.profiles["fashion"] == slower
    assert catalogue.profiles["fashion"][0].latency_source is Source.MEASURED


def test_what_is_wrong_with_profiles_is_told(fashion: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none.json: cannot be read"):
        load_catalogue(fashion, profiles="../none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(CatalogueError, match=r"bad.json: is no file of kept profiles"):
        load_catalogue(fashion, profiles="../bad.json")
    family = load_family(fashion).family
    assert family.profiles is not None
    stranger = dataclasses.replace(family.profiles.profiles[0], variant="stranger")
    wrong = dataclasses.replace(family.profiles, profiles=(stranger,))
    ProfileStore(tmp_path / "kept").save(family, (), wrong)
    with pytest.raises(
        CatalogueError, match=r"fashion.json: has a profile of 'stranger' that fits no variant"
    ):
        load_catalogue(fashion, profiles="../kept")
    write_family(dataclasses.replace(family, profiles=None), fashion)
    with pytest.raises(CatalogueError, match=r"manifest.json: tells no profiles of fashion"):
        load_catalogue(fashion)


def test_a_broken_manifest_is_told(fashion: Path) -> None:
    (fashion / "manifest.json").write_text("{")
    with pytest.raises(CatalogueError, match=r"manifest.json"):
        load_catalogue(fashion)
