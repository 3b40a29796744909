"""A policy file that changes under a running daemon."""

import os
import time
from pathlib import Path

import pytest

from trimtab.adapters.watched_policy import SETTLE_S, WatchedPolicy
from trimtab.policy import PolicyError
from trimtab.ports import PolicySource
from trimtab.testing import PolicySourceConformance


def text(name: str) -> str:
    return f"version: 1\nname: {name}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(text("first"))
    return file


@pytest.fixture
def watched(path: Path) -> WatchedPolicy:
    source = WatchedPolicy(path)
    assert source.load().name == "first"
    return source


def outcomes(source: WatchedPolicy, polls: int = 4) -> list[str]:
    """Return what a few polls report."""
    found = []
    for _ in range(polls):
        try:
            policy = source.poll()
        except PolicyError as error:
            found.append(f"failed: {error.problems[0].message}")
        else:
            if policy is not None:
                found.append(policy.name)
    return found


def test_an_unchanged_file_is_silent(watched: WatchedPolicy, path: Path) -> None:
    assert outcomes(watched) == []
    assert (watched.text, watched.source) == (text("first"), str(path))


def test_a_file_rewritten_in_place_is_reported_once(watched: WatchedPolicy, path: Path) -> None:
    path.write_text(text("second"))
    assert outcomes(watched) == ["second"]
    assert watched.text == text("second")


def test_an_editors_atomic_rename_is_noticed(watched: WatchedPolicy, path: Path) -> None:
    new = path.with_suffix(".tmp")
    new.write_text(text("other"))  # as many bytes as the first
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.rename(path)
    assert outcomes(watched) == ["other"]


def test_a_swapped_symlink_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text(name))
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "policy.yaml").symlink_to("data/policy.yaml")
    source = WatchedPolicy(tmp_path / "policy.yaml")
    assert source.load().name == "one"
    (tmp_path / "data_new").symlink_to("two")
    (tmp_path / "data_new").rename(tmp_path / "data")
    assert outcomes(source) == ["two"]


def test_a_half_written_file_is_not_taken_for_a_policy(watched: WatchedPolicy, path: Path) -> None:
    path.write_text(text("half"))  # valid as far as it goes
    assert watched.poll() is None
    path.write_text(text("half") + "strategy: largest\n")
    assert watched.poll() is None
    policy = watched.poll()
    assert policy is not None
    assert policy.strategy == "largest"


def test_a_bad_version_is_reported_once_and_the_text_kept(watched: WatchedPolicy, path: Path) -> None:
    path.write_text("version: 1\n")
    assert outcomes(watched) == ["failed: name is missing"]
    assert watched.text == text("first")
    path.touch()
    assert outcomes(watched) == []


def test_going_back_to_the_last_good_version_is_reported(watched: WatchedPolicy, path: Path) -> None:
    path.write_text("broken: [")
    assert len(outcomes(watched)) == 1
    path.write_text(text("first"))
    assert outcomes(watched) == ["first"]


def test_a_touched_file_with_the_same_text_is_silent(watched: WatchedPolicy, path: Path) -> None:
    os.utime(path, (1, 1))
    assert outcomes(watched) == []


def test_a_file_that_goes_away_and_returns(watched: WatchedPolicy, path: Path) -> None:
    path.unlink()
    assert outcomes(watched) == ["failed: cannot be read: No such file or directory"]
    path.write_text(text("back"))
    assert outcomes(watched) == ["back"]


def test_a_moment_without_a_file_is_no_failure(watched: WatchedPolicy, path: Path) -> None:
    path.unlink()
    assert watched.poll() is None
    path.write_text(text("next"))
    assert outcomes(watched) == ["next"]


def test_a_folder_is_not_a_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="not a regular file"):
        WatchedPolicy(tmp_path).load()


def test_force_reads_at_once_and_always_answers(watched: WatchedPolicy, path: Path) -> None:
    again = watched.poll(force=True)
    assert again is not None
    assert again.name == "first"
    path.write_text(text("now"))
    forced = watched.poll(force=True)
    assert forced is not None
    assert forced.name == "now"
    assert outcomes(watched) == []
    path.write_text("nonsense")
    for _ in range(2):
        with pytest.raises(PolicyError):
            watched.poll(force=True)
    assert outcomes(watched) == []


def test_bytes_that_are_not_text_are_refused(watched: WatchedPolicy, path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    assert outcomes(watched) == ["failed: not UTF-8: byte 0xFF"]


def test_a_file_left_alone_for_a_while_is_read_by_the_first_poll(path: Path) -> None:
    source = WatchedPolicy(path, wall_time_s=lambda: time.time() + SETTLE_S)
    source.load()
    path.write_text(text("second"))
    assert outcomes(source, polls=1) == ["second"]


def test_a_file_from_the_future_needs_two_polls(watched: WatchedPolicy, path: Path) -> None:
    path.write_text(text("second"))
    os.utime(path, (2**33, 2**33))
    assert outcomes(watched, polls=1) == []
    assert outcomes(watched, polls=1) == ["second"]


def test_it_meets_the_demands_on_policy_sources(path: Path) -> None:
    def make() -> WatchedPolicy:
        path.write_text(text("first"))
        return WatchedPolicy(path, wall_time_s=lambda: time.time() + SETTLE_S)

    def change(source: PolicySource) -> None:
        path.write_text(text("changed"))

    def spoil(source: PolicySource) -> None:
        path.write_text("spoilt: [")

    PolicySourceConformance(make=make, change=change, spoil=spoil).check_all()
