"""One file over HTTP: continued after an interruption, limited in size, checked by the caller."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from trimtab_models.errors import DatasetError
from trimtab_models.settings import BuildEvent, Progress, silent

TIMEOUT_S: Final = 30.0
_CHUNK_BYTES: Final = 1 << 18
_PARTIAL, _RANGE_REFUSED = 206, 416


def download(url: str, partial: Path, *, limit_bytes: int, progress: Progress = silent) -> None:
    """Bring ``url`` into ``partial``, from where an earlier attempt stopped; raise ``DatasetError``.

    What has arrived stays in ``partial`` when the connection breaks, so that the next call continues it. A
    server that knows no ranges sends all of it again.
    """
    have = partial.stat().st_size if partial.exists() else 0
    try:
        _receive(url, partial, have, limit_bytes, progress)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_REFUSED or not have:
            raise DatasetError(f"{url}: the server answers {error.code} {error.reason}") from error
        partial.unlink()  # longer than the file, or of another one
        download(url, partial, limit_bytes=limit_bytes, progress=progress)
    except (OSError, http.client.HTTPException) as error:
        raise DatasetError(f"{url}: {_reason(error)}") from error


def _receive(url: str, partial: Path, have: int, limit_bytes: int, progress: Progress) -> None:
    if not url.startswith(("https://", "http://")):
        raise DatasetError(f"{url}: only http and https addresses can be fetched")
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        start = _start(answer, have, url)
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else 0
        if max(total, start) > limit_bytes:
            raise DatasetError(f"{url}: has {total} bytes, over the {limit_bytes} expected at most")
        done = _write(answer, partial, start, limit_bytes, lambda now: _tell(progress, partial, now, total))
    if done < total:
        raise DatasetError(f"{url}: the connection ended after {done} of {total} bytes")
    if done > limit_bytes:
        partial.unlink()
        raise DatasetError(f"{url}: sends more than the {limit_bytes} bytes expected at most")


def _start(answer: Any, have: int, url: str) -> int:
    """Return at which byte of the file the answer starts: ``have``, or 0 where the server knows no ranges."""
    if answer.status != _PARTIAL:
        return 0
    told = answer.headers.get("Content-Range", "")
    if not told.startswith(f"bytes {have}-"):
        raise DatasetError(f"{url}: asked to go on at byte {have}, the server sends {told or 'no range'!r}")
    return have


def _write(answer: Any, partial: Path, start: int, limit_bytes: int, tell: Any) -> int:
    """Append the answer's body after byte ``start``; return the file's length, at most a chunk over the limit."""
    with _opened(partial, start) as file:
        done = start
        while done <= limit_bytes and (chunk := answer.read(_CHUNK_BYTES)):
            try:
                file.write(chunk)
            except OSError as error:
                raise DatasetError(f"{partial}: cannot be written: {error.strerror}") from error
            done += len(chunk)
            tell(done)
        return done


def _opened(partial: Path, start: int) -> Any:
    try:
        return partial.open("ab" if start else "wb")
    except OSError as error:
        raise DatasetError(f"{partial}: cannot be written: {error.strerror}") from error


def _tell(progress: Progress, partial: Path, done: int, total: int) -> None:
    progress(BuildEvent("dataset", f"download {partial.name.removesuffix('.part')}", done, total))


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
