"""Which transitions a request in flight may make, as data, and the error for those it may not.

    NEW -> QUEUED <-> LOADING -> RUNNING -> (done | failed)
    QUEUED, LOADING -> (expired | rejected | cancelled), QUEUED after a failed run or load
    RUNNING -> ABANDONED: the caller left, the processor is busy until the run ends
"""

from typing import Final

from trimtab.core.events import Event
from trimtab.core.state import Live, Phase

TRANSITIONS: Final[dict[Phase, tuple[Phase, ...]]] = {
    Phase.NEW: (Phase.QUEUED, Phase.LOADING),
    Phase.QUEUED: (Phase.QUEUED, Phase.LOADING, Phase.RUNNING),
    Phase.LOADING: (Phase.QUEUED, Phase.LOADING),
    Phase.RUNNING: (Phase.QUEUED, Phase.LOADING, Phase.RUNNING, Phase.ABANDONED),
    Phase.ABANDONED: (),
}


class IllegalEventError(Exception):
    """An event that cannot happen in the present state; the state is unchanged."""

    def __init__(self, event: Event, why: str, live: Live | None = None) -> None:
        """Tell the event, what is wrong with it and the story of the request so far."""
        self.event = event
        self.live = live
        story = "" if live is None else f"; request so far: {live}"
        super().__init__(f"{event}: {why}{story}")


def move(live: Live, phase: Phase) -> None:
    """Put a request into ``phase``; raise ``AssertionError`` for a transition the table does not have."""
    if phase not in TRANSITIONS[live.phase]:
        raise AssertionError(f"no transition {live.phase.value} -> {phase.value} for {live}")
    live.phase = phase
