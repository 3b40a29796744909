import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trimtab_sim.catalogue.model import CatalogueError
from trimtab_sim.catalogue.table import Findings, header_of, read_rows

if TYPE_CHECKING:
    from .conftest import Write


def rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    findings = Findings(str(path))
    found = [(cells.line, cells.values) for cells in read_rows(path, ("a", "b"), findings)]
    findings.raise_any()
    return found


def test_rows_know_their_line(write: "Write") -> None:
    path = write("some.csv", 'a,b\n1, two \n\n,\n"x\ny",3\n4,5\n')
    assert rows(path) == [
        (2, {"a": "1", "b": "two"}),
        (5, {"a": "x\ny", "b": "3"}),
        (7, {"a": "4", "b": "5"}),
    ]


def test_compressed_files_and_byte_order_marks(tmp_path: Path) -> None:
    path = tmp_path / "some.csv.gz"
    path.write_bytes(gzip.compress("\ufeffa,b\n1,2\n".encode()))
    assert header_of(path) == ("a", "b")
    assert rows(path) == [(2, {"a": "1", "b": "2"})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,c\n", "some.csv:1: b: the header has no such column"),
        ("a,b,a\n", "some.csv:1: a: stands twice"),
        ("a,b\n1,2\n1,2,3\n", "some.csv:3: 3 cells under 2 column names"),
        ('a,b\n1,"2\n', "some.csv:2: is not CSV"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(write: "Write", text: str, message: str) -> None:
    path = write("some.csv", text)
    with pytest.raises(CatalogueError) as caught:
        rows(path)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none.csv: cannot be read: No such file"):
        rows(tmp_path / "none.csv")
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")
    with pytest.raises(CatalogueError, match=r"broken.csv:3: is not UTF-8"):
        rows(broken)
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(b"a,b\n1,2\n")[:-6])
    with pytest.raises(CatalogueError, match="cannot be read"):
        rows(torn)


def test_many_problems_are_counted(write: "Write") -> None:
    path = write("some.csv", "a,b\n" + "1\n" * 60)
    with pytest.raises(CatalogueError) as caught:
        rows(path)
    assert len(caught.value.problems) == 51
    assert caught.value.problems[-1].message == "and 10 problems more"
