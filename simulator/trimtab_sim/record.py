"""A run's journal in memory: the same items in the same codec as the daemon's, as bytes that compare."""

from collections.abc import Callable, Iterator, Sequence

from trimtab.core.codec import CodecError, decode, encode
from trimtab.core.commands import Command
from trimtab.core.events import Event

Record = Callable[[int, Event, Sequence[Command]], None]
"""What the driver tells of each event, shaped like ``trimtab.ports.Journal.append``."""


class JournalRecord:
    """Keeps each event and, behind it, its commands with the time in ns; pass ``append`` to the driver."""

    def __init__(self) -> None:
        """Start empty."""
        self.items: list[tuple[int, Event | Command]] = []

    def append(self, at_ns: int, event: Event, commands: Sequence[Command]) -> None:
        """Keep an event and the commands it led to."""
        self.items.append((at_ns, event))
        self.items.extend([(at_ns, command) for command in commands])

    def to_bytes(self) -> bytes:
        """Return one line per item: time, type, body."""
        lines = [(at_ns, *encode(item)) for at_ns, item in self.items]
        return b"".join([b"%d %s %s\n" % (at_ns, name.encode(), body) for at_ns, name, body in lines])


def read_items(data: bytes) -> Iterator[tuple[int, Event | Command]]:
    """Yield the items of ``JournalRecord.to_bytes``; raise ``CodecError`` naming a line that is wrong."""
    for number, line in enumerate(data.splitlines(), 1):
        try:
            at_ns, name, body = line.split(b" ", 2)
            yield int(at_ns), decode(name.decode(), body)
        except (ValueError, CodecError) as error:
            raise CodecError(f"line {number}: {error}") from error
