"""Which transitions a request in flight may make and how it may end, as data, and the error for the rest.

A request waits (``QUEUED``, or ``LOADING`` while its variant comes into memory), runs stage by stage
(``RUNNING``) and ends. When its caller leaves during a run it is ``ABANDONED``: answered, but its
processor stays busy until the run ends.
"""

from typing import Final

from trimtab.core.events import Event
from trimtab.core.state import Live, Phase
from trimtab.domain.decision import Outcome

TRANSITIONS: Final[dict[Phase, tuple[Phase, ...]]] = {
    Phase.NEW: (Phase.QUEUED, Phase.LOADING),
    Phase.QUEUED: (Phase.QUEUED, Phase.LOADING, Phase.RUNNING),
    Phase.LOADING: (Phase.QUEUED, Phase.LOADING),
    Phase.RUNNING: (Phase.QUEUED, Phase.LOADING, Phase.ABANDONED),
    Phase.ABANDONED: (),
}
"""From each phase, the phases that may follow; from a running one back to waiting after its run failed."""

ENDINGS: Final[dict[Phase, tuple[Outcome, ...]]] = {
    Phase.NEW: (Outcome.REJECTED,),
    Phase.QUEUED: (Outcome.REJECTED, Outcome.EXPIRED, Outcome.CANCELLED),
    Phase.LOADING: (Outcome.REJECTED, Outcome.EXPIRED, Outcome.CANCELLED, Outcome.FAILED),
    Phase.RUNNING: (Outcome.DONE, Outcome.REJECTED, Outcome.CANCELLED, Outcome.FAILED),
    Phase.ABANDONED: (),
}
"""From each phase, the outcomes a request may end with; an abandoned one was answered when its caller left."""


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
