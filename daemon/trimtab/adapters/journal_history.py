"""Tell the story of a request from the journal, by making its decisions again with explanations on."""

from collections.abc import Callable
from pathlib import Path

from trimtab.adapters.journal_reader import JournalReader
from trimtab.core.codec import decode_value
from trimtab.core.commands import Decided, Finish
from trimtab.core.replay import replay, steps
from trimtab.core.scheduler import Scheduler
from trimtab.core.selection import Strategy
from trimtab.core.state import State
from trimtab.domain.decision import Verdict
from trimtab.domain.grounds import Grounds
from trimtab.ports import Entry, Story


class JournalHistory:
    """Explains requests recorded in a journal file. Nothing needs to be recorded but events and commands."""

    def __init__(self, path: Path, strategy_named: Callable[[str], Strategy]) -> None:
        """Read the journal at ``path``; strategies are looked up by the name a policy gives."""
        self._path = path
        self._strategy_named = strategy_named

    def story(self, request_id: str) -> Story:
        """Return a request's entries (empty id: the latest) and the verdicts of each of its decisions.

        Raises ``KeyError`` when the journal does not hold it.
        """
        with JournalReader(self._path) as reader:
            wanted = request_id or reader.latest_request_id()
            entries = reader.request_entries(wanted) if wanted else ()
            session = reader.request_session(wanted) if wanted else None
            if wanted is None or session is None or not entries:
                raise KeyError(
                    f"the journal holds no request {request_id!r}" if request_id else "no request yet"
                )
            told = self._told(reader, session, wanted, entries)
            return Story(wanted, entries, *told)

    def _told(
        self, reader: JournalReader, session: int, request_id: str, entries: tuple[Entry, ...]
    ) -> tuple[tuple[tuple[Verdict, ...], ...], tuple[Grounds, ...]]:
        """Replay from the checkpoint before the request until its last entry, listening in."""
        first, last = entries[0].seq, entries[-1].seq
        checkpoint = reader.latest_checkpoint_before(session, first)
        state = None if checkpoint is None else decode_value(State, checkpoint.state)
        begin = 0 if checkpoint is None else checkpoint.seq + 1
        scheduler = Scheduler(self._strategy_named, state, explain=True)
        rows = ((e.at_ns, e.item) for e in reader.entries(session, begin, last))
        told = [
            (command.verdicts, command.grounds)
            for difference in replay(scheduler, steps(rows))
            for command in difference.replayed
            if isinstance(command, Decided | Finish)
            and command.grounds is not None
            and _id_of(command) == request_id
        ]
        return tuple([verdicts for verdicts, _ in told]), tuple([grounds for _, grounds in told])


def _id_of(command: Decided | Finish) -> str:
    """Return which request a decision or an answer is about."""
    return (command.decision if isinstance(command, Decided) else command.result).request_id
