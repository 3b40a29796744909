"""What the composition root makes of settings, without a process."""

from pathlib import Path

import pytest

from trimtab.adapters.family_store import FamilyError
from trimtab.app import BatterySpec, Settings, check_settings, default_state_folder, find_families
from trimtab.policy import PolicyError
from trimtab.rpc.address import AddressError, Listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40000", BatterySpec(40_000.0)),
        ("40000:0.8", BatterySpec(40_000.0, 0.8)),
        ("40000:0.8:500", BatterySpec(40_000.0, 0.8, 500.0)),
    ],
)
def test_a_battery_is_read(text: str, expected: BatterySpec) -> None:
    assert BatterySpec.parse(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1:2", "0", "nan", "inf", "1:nan", "1:1:nan", "1:1:-1", "1:1:1:1"])
def test_no_battery_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"battery|capacity"):
        BatterySpec.parse(text)


def test_the_state_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_state_folder() == tmp_path / "trimtab"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state_folder() == tmp_path / ".local/state/trimtab"


def test_settings_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    state, socket = tmp_path / "state", Listen(socket=tmp_path / "t.sock")
    check_settings(Settings(listen=socket, state_folder=state))
    assert state.is_dir()
    with pytest.raises(PolicyError):
        check_settings(Settings(listen=socket, state_folder=state, policy="nothing"))
    with pytest.raises(AddressError):
        check_settings(Settings(listen=Listen(tcp="0.0.0.0:1"), state_folder=state))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_settings(Settings(listen=socket, state_folder=tmp_path / "file"))


def test_a_folder_without_families_is_named(tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match=str(tmp_path)):
        find_families(Settings(families=(tmp_path,)))
