"""Read what data comes packed in: npm and GitHub tarballs, Debian packages; and digests of content.

Archives that a server makes on demand differ in their bytes from day to day, as do ``.npz`` files of different
zlib versions: their content is what has a checksum.
"""

import gzip
import hashlib
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import numpy as np

from trimtab_models.errors import DatasetError

MEMBER_LIMIT_BYTES: Final = 256 << 20
_CHUNK_BYTES: Final = 1 << 20
_AR_MAGIC, _AR_HEADER_BYTES = b"!<arch>\n", 60


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gzip_sha256(path: Path) -> str:
    """Return the SHA-256 of what a gzip file holds: the same whoever packed it."""
    digest = hashlib.sha256()
    with gzip.open(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def npz_sha256(path: Path) -> str:
    """Return the SHA-256 over name, type, shape and values of each array of an ``.npz``, in order of names."""
    digest = hashlib.sha256()
    with np.load(path, allow_pickle=False) as arrays:
        for name in sorted(arrays.files):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def zip_sha256(path: Path) -> str:
    """Return the SHA-256 over the lines ``sha256  name`` of a zip's members, in order of names."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            digest.update(f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()


def tar_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each regular file of a tarball; raise ``DatasetError`` on one over the limit."""
    with tarfile.open(archive, "r:*") as tar:
        yield from _members(tar, archive)


def deb_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each file that a Debian package installs (deb(5): ``data.tar`` inside ar)."""
    with archive.open("rb") as file:
        _seek_data(file, archive)
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            yield from _members(tar, archive)


def _members(tar: tarfile.TarFile, archive: Path) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        if not member.isfile():
            continue
        if member.size > MEMBER_LIMIT_BYTES:
            raise DatasetError(f"{archive}: {member.name} has {member.size} bytes, over {MEMBER_LIMIT_BYTES}")
        content = tar.extractfile(member)
        assert content is not None
        yield member.name.removeprefix("./"), content.read()


def _seek_data(file: IO[bytes], archive: Path) -> None:
    """Leave ``file`` at the first byte of the package's ``data.tar``."""
    magic = file.read(len(_AR_MAGIC))
    while magic == _AR_MAGIC and len(header := file.read(_AR_HEADER_BYTES)) == _AR_HEADER_BYTES:
        if header.startswith(b"data.tar"):
            return
        size = header[48:58].strip()
        if not size.isdigit():
            break
        file.seek(int(size) + int(size) % 2, 1)
    raise DatasetError(f"{archive}: no Debian package, or one without data.tar")


def extract(
    archive: Path,
    folder: Path,
    names: Mapping[str, str],
    members: Callable[[Path], Iterator[tuple[str, bytes]]] = tar_members,
) -> None:
    """Write the members named by ``names`` (path in the archive: file name) into ``folder``."""
    for path, content in members(archive):
        if path in names:
            (folder / names[path]).write_bytes(content)
