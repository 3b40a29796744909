"""Where the daemon listens and clients look for it."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

UNIX: Final = "unix:"
LONGEST_SOCKET_PATH: Final = 107
SOCKET_UMASK: Final = 0o177
CONNECT_S: Final = 1.0


class AddressError(Exception):
    """An address cannot be listened on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: a Unix-domain socket, a TCP address ``host:port``, or both.

    TCP has no access control, so only loopback is accepted unless ``allow_remote`` says otherwise.
    """

    socket: Path | None = None
    tcp: str = ""
    allow_remote: bool = False


def default_socket() -> Path:
    """Return ``$XDG_RUNTIME_DIR/trimtab.sock``, or one in ``/tmp`` named after the user."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        return Path(runtime, "trimtab.sock")
    return Path("/tmp", f"trimtab-{os.getuid()}.sock")  # noqa: S108 - the socket itself is mode 0600


def default_address() -> str:
    """Return ``TRIMTAB_ADDRESS`` when it is set, else the default socket as ``unix:PATH``."""
    return os.environ.get("TRIMTAB_ADDRESS") or f"{UNIX}{default_socket()}"


def listen_at(address: str, allow_remote: bool = False) -> Listen:
    """Return where to listen for an address as clients write it: ``unix:PATH`` or ``host:port``."""
    if address.startswith(UNIX):
        return Listen(socket=Path(address.removeprefix(UNIX)))
    return Listen(tcp=address, allow_remote=allow_remote)


def check_tcp(address: str, allow_remote: bool) -> str:
    """Return a TCP address that may be listened on; raise ``AddressError`` for any other."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise AddressError(f"{address!r} is no TCP address; write it as 127.0.0.1:8001")
    if not allow_remote and not _is_loopback(host):
        raise AddressError(
            f"{address!r} can be reached from other machines and trimtab has no access control; "
            "listen on 127.0.0.1, or allow remote access explicitly"
        )
    return address


def free_socket(path: Path) -> None:
    """Make room for a socket at ``path``: remove one a dead daemon left, raise ``AddressError`` otherwise."""
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise AddressError(f"socket path {path} is longer than {LONGEST_SOCKET_PATH} bytes")
    if not path.parent.is_dir():
        raise AddressError(f"there is no folder {path.parent} for the socket {path.name}")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError(f"{path} exists and is not a socket; remove it or listen elsewhere")
    if found.st_uid != os.getuid():
        raise AddressError(f"{path} belongs to another user; listen elsewhere")
    if _answers(path):
        raise AddressError(f"a daemon already listens at {path}; stop it or listen elsewhere")
    path.unlink(missing_ok=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Give files created in this block mode 0600."""
    before = os.umask(SOCKET_UMASK)
    try:
        yield
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # a full backlog or a slow daemon is still a daemon
            return True
        return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
