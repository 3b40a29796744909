"""Data is found, checked and, after an interruption, downloaded to the end: with a real server."""

import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from trimtab_models.datasets.archives import extract
from trimtab_models.datasets.download import download
from trimtab_models.datasets.fetch import (
    File,
    Form,
    Found,
    Origin,
    Source,
    cache_folder,
    find,
    locate,
    resolved,
)
from trimtab_models.errors import DatasetError
from trimtab_models.settings import BuildEvent

CONTENT = bytes(range(256)) * 4000
LIMIT = 1 << 24


@dataclass
class Server:
    """What the server has, how it behaves, and which ranges it was asked for."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    knows_ranges: bool = True
    stops_after: int | None = None
    tells_length: bool = True
    range_starts_late: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)


def _handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            server.asked.append((self.path, wanted))
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = 0
            if wanted and server.knows_ranges:
                start = int(wanted.removeprefix("bytes=").rstrip("-")) + server.range_starts_late
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if server.tells_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : server.stops_after])

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(told)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        told.address = f"http://127.0.0.1:{running.server_port}"
        told.files["/file"] = CONTENT
        yield told
        running.shutdown()
        thread.join()


# one file over HTTP


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    partial_file = tmp_path / "file.part"
    partial_file.write_bytes(CONTENT[:1000])
    events: list[BuildEvent] = []
    download(f"{server.address}/file", partial_file, limit_bytes=len(CONTENT), progress=events.append)
    assert server.asked == [("/file", "bytes=1000-")]
    assert partial_file.read_bytes() == CONTENT
    assert (events[-1].step, events[-1].done, events[-1].total) == (
        "download file",
        len(CONTENT),
        len(CONTENT),
    )


def test_a_broken_connection_is_told_and_continued(server: Server, tmp_path: Path) -> None:
    server.stops_after = 300_000
    with pytest.raises(DatasetError, match=f"ended after 300000 of {len(CONTENT)} bytes"):
        download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)
    assert (tmp_path / "f.part").stat().st_size == 300_000
    server.stops_after = None
    download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)
    assert server.asked[-1] == ("/file", "bytes=300000-")
    assert (tmp_path / "f.part").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    (tmp_path / "f.part").write_bytes(b"x" * 5000)
    download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)
    assert (tmp_path / "f.part").read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_file_is_started_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT + b"more")
    download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)
    assert (tmp_path / "f.part").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_range_that_was_not_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    server.range_starts_late = 7
    (tmp_path / "f.part").write_bytes(CONTENT[:100])
    with pytest.raises(DatasetError, match="go on at byte 100, the server sends 'bytes 107-"):
        download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)
    assert (tmp_path / "f.part").read_bytes() == CONTENT[:100]


@pytest.mark.parametrize("tells_length", [True, False])
def test_more_than_expected_is_refused(server: Server, tmp_path: Path, tells_length: bool) -> None:
    server.tells_length = tells_length
    with pytest.raises(DatasetError, match="5000"):
        download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=5000)
    assert not (tmp_path / "f.part").exists()


def test_a_body_of_untold_length_is_taken_whole(server: Server, tmp_path: Path) -> None:
    server.tells_length = False
    download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)
    assert (tmp_path / "f.part").read_bytes() == CONTENT


def test_what_the_server_answers_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/nothing: the server answers 404"):
        download(f"{server.address}/nothing", tmp_path / "f.part", limit_bytes=LIMIT)
    with pytest.raises(DatasetError, match="ConnectionRefusedError"):
        download("http://127.0.0.1:1/file", tmp_path / "f.part", limit_bytes=LIMIT)
    with pytest.raises(DatasetError, match="only http and https"):
        download("file:///etc/passwd", tmp_path / "f.part", limit_bytes=LIMIT)


def test_a_disk_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").mkdir()
    with pytest.raises(DatasetError, match=r"f\.part: cannot be written: Is a directory"):
        download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises(DatasetError, match="No space left on device"):
        download(f"{server.address}/file", tmp_path / "f.part", limit_bytes=LIMIT)


# a dataset: where it is found, how it is made


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tarball(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


ARCHIVE = _tarball({"package/a.bin": b"aaa", "package/b.bin": b"bbb", "package/readme": b"no"})
FILES = (File("a.bin", _sha256(b"aaa")), File("b.bin", _sha256(b"bbb")))


def _origin(address: str, *, sha256: str = _sha256(ARCHIVE), system: Path | None = None) -> Origin:
    source = Source(
        "set-1.0.tgz",
        (f"{address}/gone/set-1.0.tgz", f"{address}/set-1.0.tgz"),
        len(ARCHIVE) if sha256 else LIMIT,
        sha256,
        partial(extract, names={"package/a.bin": "a.bin", "package/b.bin": "b.bin"}),
    )
    return Origin("set", (Form(FILES, (source,)),), "install it", (system,) if system else ())


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def _put(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.bin").write_bytes(b"aaa")
    (folder / "b.bin").write_bytes(b"bbb")
    return folder


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_what_is_nowhere_is_downloaded_unpacked_and_kept(server: Server, environment: dict[str, str]) -> None:
    server.files["/set-1.0.tgz"] = ARCHIVE
    origin = _origin(server.address)
    assert find(origin, environment) is None
    found = locate(origin, environment=environment)
    assert found.folder == cache_folder(origin, environment)
    assert [path.read_bytes() for path in found.paths] == [b"aaa", b"bbb"]
    assert found.size_bytes == 6
    assert _left(found.folder) == ["a.bin", "b.bin"]
    asked = list(server.asked)
    assert locate(origin, environment=environment) == found
    assert server.asked == asked == [("/gone/set-1.0.tgz", None), ("/set-1.0.tgz", None)]


@pytest.mark.parametrize("place", ["set", ".", "tasks"])
def test_the_folder_in_the_environment_comes_first(
    tmp_path: Path, environment: dict[str, str], place: str
) -> None:
    origin = _origin("http://127.0.0.1:1", system=_put(tmp_path / "system"))
    folder = _put(tmp_path / "mine" / place)
    assert locate(origin, environment=environment).folder == tmp_path / "system"
    environment["TRIMTAB_DATA"] = str(tmp_path / "mine")
    assert locate(origin, environment=environment).folder == folder


def test_a_package_in_the_folder_is_unpacked_into_the_cache(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "set-1.0.tgz").write_bytes(ARCHIVE)
    environment["TRIMTAB_DATA"] = str(tmp_path / "mine")
    found = locate(_origin("http://127.0.0.1:1"), environment=environment)
    assert found.folder == tmp_path / "cache" / "trimtab" / "data" / "set"
    assert _left(found.folder) == ["a.bin", "b.bin"]
    assert _left(tmp_path / "mine") == ["set-1.0.tgz"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["TRIMTAB_DATA"] = str(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"TRIMTAB_DATA=.*gone: no such folder"):
        find(_origin("http://127.0.0.1:1"), environment)


def test_a_damaged_file_is_named_with_both_checksums(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = _put(tmp_path / "mine")
    (folder / "b.bin").write_bytes(b"bad")
    environment["TRIMTAB_DATA"] = str(folder)
    with pytest.raises(DatasetError) as told:
        locate(_origin("http://127.0.0.1:1"), environment=environment)
    for part in (str(folder / "b.bin"), _sha256(b"bad"), _sha256(b"bbb")):
        assert part in str(told.value)


def test_a_download_with_another_checksum_is_thrown_away(server: Server, environment: dict[str, str]) -> None:
    other = bytearray(ARCHIVE)
    other[-1] ^= 1
    server.files["/set-1.0.tgz"] = bytes(other)
    origin = _origin(server.address)
    with pytest.raises(DatasetError, match=f"expected {_sha256(ARCHIVE)}.*install it"):
        locate(origin, environment=environment)
    assert _left(cache_folder(origin, environment)) == []
    server.files["/set-1.0.tgz"] = ARCHIVE
    assert locate(origin, environment=environment).size_bytes == 6


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (ARCHIVE[: len(ARCHIVE) // 2], "cannot be unpacked"),
        (b"<html>sorry</html>", "cannot be unpacked"),
        (_tarball({"package/a.bin": b"aaa"}), "b.bin is not in it"),
        (_tarball({"package/a.bin": b"aaa", "package/b.bin": b"other"}), f"expected {_sha256(b'bbb')}"),
    ],
)
def test_an_archive_made_on_demand_is_checked_by_what_is_in_it(
    server: Server, environment: dict[str, str], archive: bytes, reason: str
) -> None:
    server.files["/set-1.0.tgz"] = archive
    origin = _origin(server.address, sha256="")
    with pytest.raises(DatasetError, match=re.escape(reason)):
        locate(origin, environment=environment)
    assert _left(cache_folder(origin, environment)) == []
    server.files["/set-1.0.tgz"] = ARCHIVE
    assert locate(origin, environment=environment).size_bytes == 6


def test_the_next_form_is_tried_when_one_cannot_be_had(server: Server, environment: dict[str, str]) -> None:
    server.files |= {"/a.bin": b"aaa", "/b.bin": b"bbb"}
    direct = tuple(Source(file.name, (f"{server.address}/{file.name}",), 3) for file in FILES)
    origin = _origin(server.address)
    origin = Origin("set", (*origin.forms, Form(FILES, direct)), "install it")
    found = locate(origin, environment=environment)
    assert found == Found(origin.forms[1], cache_folder(origin, environment))
    assert _left(found.folder) == ["a.bin", "b.bin"]


def test_a_set_that_can_only_be_found_says_how(environment: dict[str, str]) -> None:
    with pytest.raises(DatasetError, match=r"set: nowhere to download it from.*or install it"):
        locate(Origin("set", (Form(FILES),), "install it"), environment=environment)


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(DatasetError, match=r"cache.*: cannot be written: Not a directory"):
        locate(_origin("http://127.0.0.1:1"), environment={"XDG_CACHE_HOME": str(tmp_path / "cache")})


def test_two_that_fetch_at_once_download_once(server: Server, environment: dict[str, str]) -> None:
    server.files["/set-1.0.tgz"] = ARCHIVE
    origin = _origin(server.address)
    found: list[Found] = []
    threads = [
        threading.Thread(target=lambda: found.append(locate(origin, environment=environment)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert [path for path, _ in server.asked].count("/set-1.0.tgz") == 1


def test_the_npm_registry_is_the_users() -> None:
    url = "{npm}/name/-/name-1.0.tgz"
    assert resolved(url, {}) == "https://registry.npmjs.org/name/-/name-1.0.tgz"
    for variable in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        assert resolved(url, {variable: "http://mine/npm/"}) == "http://mine/npm/name/-/name-1.0.tgz"
    assert resolved("https://else/where", os.environ) == "https://else/where"
