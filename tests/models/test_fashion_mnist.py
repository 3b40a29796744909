"""Data is found, checked and, after an interruption, downloaded to the end."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab_models.datasets import fashion_mnist
from trimtab_models.errors import DatasetError
from trimtab_models.settings import BuildEvent, silent

CONTENT = bytes(range(256)) * 4000


class _Origin(http.server.BaseHTTPRequestHandler):
    """Serve ``CONTENT`` from the asked byte on."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Range"])
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.send_response(206)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    _Origin.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Origin) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_interrupted_download_goes_on_where_it_stopped(origin: str, tmp_path: Path) -> None:
    (tmp_path / "file.gz.part").write_bytes(CONTENT[:1000])
    events: list[BuildEvent] = []
    fashion_mnist._download("file.gz", tmp_path, events.append, origin)
    assert _Origin.asked == ["bytes=1000-"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
    assert events[-1].done == events[-1].total == len(CONTENT)


def test_a_failing_download_says_what_else_works(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist._download("file.gz", tmp_path, silent, "http://127.0.0.1:1")


def test_the_folder_in_the_environment_comes_first_and_is_checked(tmp_path: Path) -> None:
    for name in fashion_mnist.SHA256:
        (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte\.gz is damaged"):
        fashion_mnist.locate(environment={"TRIMTAB_DATA": str(tmp_path)})


def test_the_checksums_are_of_sha256() -> None:
    assert {len(digest) for digest in fashion_mnist.SHA256.values()} == {len(hashlib.sha256().hexdigest())}
