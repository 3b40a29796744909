"""Opens a text file of any usual encoding, compressed or not, line by line and with bounded memory."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from trimtab_sim.traces.findings import Findings

LONGEST_LINE: Final = 1 << 20
"""Characters in a line; a file with a longer one is not a text trace."""
BLOCK: Final = 1 << 13
"""Characters read at once; of a damaged compressed file at most so many are lost before the damage."""
GZIP: Final = b"\x1f\x8b"
UTF16: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def first_bytes(path: Path, count: int = 64) -> bytes:
    """Return the first bytes of a file; raise ``OSError`` as opening does."""
    with path.open("rb") as file:
        return file.read(count)


def read_lines(path: Path, findings: Findings) -> Iterator[str]:
    """Yield the lines of a text file, each with its line end; gzip and UTF-16 (with its mark) are recognised.

    Bytes that are no UTF-8 become replacement characters, so that what they are in is reported where it is
    read. A compressed file that breaks off is a problem; what came before is still read. Raises ``TraceError``
    for a line that is too long.
    """
    line, rest = 0, ""
    for block in _blocks(path, findings):
        lines = (rest + block).split("\n")
        rest = lines.pop()
        if not line:
            lines[:1] = [first.removeprefix("\ufeff") for first in lines[:1]]
        line += len(lines)
        if len(rest) >= LONGEST_LINE:
            raise findings.refuse(f"a line of more than {LONGEST_LINE} characters: no text trace", line + 1)
        yield from [text + "\n" for text in lines]
    if rest:
        yield rest if line else rest.removeprefix("\ufeff")


def _blocks(path: Path, findings: Findings) -> Iterator[str]:
    with _open(path) as file:
        try:
            while block := file.read(BLOCK):
                yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            findings.problem(
                0, f"the compressed file is damaged; what is behind the damage is missing ({error})"
            )


def _open(path: Path) -> IO[str]:
    compressed = first_bytes(path, 2) == GZIP
    opener = gzip.open if compressed else open
    with opener(path, "rb") as file:
        try:
            mark = file.read(2)
        except (EOFError, OSError, zlib.error):
            mark = b""  # told when the lines are read
    encoding = UTF16.get(mark, "utf-8")
    return opener(path, "rt", encoding=encoding, errors="replace", newline=None)
