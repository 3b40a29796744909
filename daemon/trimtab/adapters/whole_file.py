"""Writes files that are either the old or the new version, never half of one."""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, body: bytes) -> None:
    """Put ``body`` in the place of ``path`` in one move, safe on disk before; raise ``OSError``."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as fresh:
        try:
            fresh.write(body)
            fresh.flush()
            os.fsync(fresh.fileno())
            Path(fresh.name).replace(path)
        except BaseException:
            Path(fresh.name).unlink(missing_ok=True)
            raise
