"""The file that what was learned is kept in: whole or not at all, and never trusted blindly."""

import logging
from pathlib import Path

import pytest

from trimtab.adapters.estimate_store import FileEstimates
from trimtab.core.knowledge import Knowledge
from trimtab.core.state import Estimate

LEARNED = Knowledge(estimates={"cpu:0": Estimate(mean=0.5, observations=9)}, profiles={"t": 7})
HOUR = 3600 * 10**9


def store(folder: Path, machine: str = "this one", now_ns: int = 0) -> FileEstimates:
    return FileEstimates(folder / "estimates.json", machine, lambda: now_ns)


def test_what_was_saved_is_read_back_with_its_age(tmp_path: Path) -> None:
    assert store(tmp_path).load() is None
    store(tmp_path, now_ns=5).save(LEARNED)
    assert store(tmp_path, now_ns=HOUR + 5).load() == (LEARNED, HOUR)
    assert store(tmp_path, now_ns=2).load() == (LEARNED, 0), "the time of day was set back"
    assert [path.name for path in tmp_path.iterdir()] == ["estimates.json"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda body: body[: len(body) // 2], "cannot be read"),
        (lambda body: b"", "cannot be read"),
        (lambda body: b"\xff\x00 not json", "cannot be read"),
        (lambda body: body.replace(b"0.5", b'"much"'), "cannot be read"),
        (lambda body: body.replace(b'"mean":0.5', b'"mean":1e300'), "impossible"),
        (lambda body: body.replace(b'"format_version":1', b'"format_version":9'), "format 9"),
        (lambda body: body.replace(b"this one", b"that one"), "another machine (that one)"),
    ],
)
def test_a_file_of_no_use_is_warned_about_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object, told: str
) -> None:
    store(tmp_path).save(LEARNED)
    path = tmp_path / "estimates.json"
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert store(tmp_path).load() is None
    assert str(path) in caplog.text
    assert told in caplog.text
    store(tmp_path).save(LEARNED)
    assert store(tmp_path).load() == (LEARNED, 0)


def test_a_folder_that_is_gone_is_an_error_of_saving(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        store(tmp_path / "gone").save(LEARNED)
