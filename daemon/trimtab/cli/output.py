"""How commands print: JSON for programs, tables for people, errors with a hint and exit code 1.

A mistake in how a command was called ends with click's usage message and exit code 2.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn

import click


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` to a command; it arrives as ``as_json``."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON instead of text.")(command)


def address_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--address`` to a command that talks to a daemon."""
    return click.option(
        "--address",
        envvar="TRIMTAB_ADDRESS",
        default="",
        callback=_check_address,
        metavar="ADDRESS",
        help="Where the daemon listens: unix:PATH or HOST:PORT. Default: the user's socket.",
    )(command)


def _check_address(_context: click.Context, _option: click.Parameter, address: str) -> str:
    """Refuse what is no address before gRPC tries to look it up."""
    from trimtab.rpc.address import UNIX

    if not address or (address.startswith(UNIX) and address != UNIX):
        return address
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and 0 < int(port) < 65536:
        return address
    hint = f"; did you mean {UNIX}{address}?" if "/" in address else ""
    raise click.BadParameter(f"{address!r} is no address: write unix:PATH or HOST:PORT{hint}")


def plain(value: object) -> object:
    """Return dataclasses, enums and arrays as what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, str):
        return str(value)
    return value


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns; numbers to the right."""
    cells = [[str(x) for x in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(headers), *cells]) for i in range(len(headers))]
    right = [all(_is_number(row[i]) for row in cells) and bool(cells) for i in range(len(headers))]
    for row in [list(headers), *cells]:
        line = (x.rjust(w) if r else x.ljust(w) for x, w, r in zip(row, widths, right, strict=True))
        click.echo("  ".join(line).rstrip())


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace("-", "").replace("%", "").replace(" ", "").replace("e", "").isdigit()


def fail(message: str) -> NoReturn:
    """Print an error and leave with exit code 1."""
    click.echo(f"error: {message}", err=True)
    sys.exit(1)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn the errors that users can cause into one line without a traceback."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
        raise  # click knows what to do, also with `trimtab ... | head`
    except Exception as error:
        message = _explained(error)
        if message is None:
            raise
        fail(message)


def _explained(error: Exception) -> str | None:
    """Return what to tell the user; ``None`` when the error is ours. Imports only now what is costly."""
    from trimtab.adapters.family_store import FamilyError
    from trimtab.adapters.journal_file import JournalError
    from trimtab.adapters.virtual_device import DeviceFileError
    from trimtab.client import TrimtabError
    from trimtab.policy import PolicyError
    from trimtab.profiling import ProfilingError
    from trimtab.rpc.address import AddressError

    if isinstance(error, TrimtabError):
        more = f"; see `trimtab explain {error.decision_id}`" if error.decision_id else ""
        return f"{error.code}: {error.message.partition(' (failed to connect')[0]}{more}"
    known = (AddressError, DeviceFileError, FamilyError, JournalError, PolicyError, ProfilingError)
    if isinstance(error, known):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    return None


def user_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command so that errors a user can cause are told in one line."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with readable_errors():
            return command(*args, **kwargs)

    return wrapped


def mib(count: int) -> str:
    """Return bytes as MiB with one decimal."""
    return f"{count / (1 << 20):.1f}"
