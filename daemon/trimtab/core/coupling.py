"""What one processor's runs say about the others: contention for memory slows all down, that on a core its own.

Each processor has a regression on each other one: how far does it move when the other one jumps? Where cores are
shared that is expected to be as far, elsewhere half as far, until runs tell. A jump that nobody had heard of moves
the others along, and leaves them as uncertain as the regression is. What a processor finds when it runs after it
heard of one is no news to the others: they heard the same.
"""

from trimtab.core.estimator import JUMP, SETTLED, settle_doubt, variance_at
from trimtab.core.state import Estimate, Tie
from trimtab.domain.quantities import NS_PER_S

TELL = 0.03
"""A level that drifts is told when it has moved by so much, in ln."""
KEPT = 0.9
"""What a regression keeps of the past at each new pair."""
PRIOR_SQUARE = 0.1
"""What the first expectation counts for: one move by 0.3, in ln."""
SHARING_SHARE, SHARING_ERROR = 1.0, 0.01
USUAL_SHARE, USUAL_ERROR = 0.5, 0.25
APART_SHARE, APART_ERROR = 0.0, 0.01
"""First error of the regression: the square of what it misses, as a share of the move's."""
TELLING = 0.1
"""Only moves by so much, in ln, tell how far two processors move together; noise makes up smaller ones."""
LEAST_ERROR = 1e-3
MIN_VARIANCE = 1e-6
VOUCH_NS = NS_PER_S
"""A processor that runs as expected says so to the others at most so often."""
LEAST_SHARE = 0.5
"""A processor that moves by so large a part of another one's moves tells whether that one jumped at all."""


def tie_up(estimates: dict[str, Estimate], masks: dict[str, int]) -> None:
    """Give each processor a regression on each other one; those that share a core (by ``masks``) move together.

    A mask of zero is that of a server, which is elsewhere.
    """
    for name, estimate in estimates.items():
        ties = {}
        for other in estimates:
            if other != name:
                share, error = _first(masks[name], masks[other])
                new = Tie(share * PRIOR_SQUARE, PRIOR_SQUARE, error * PRIOR_SQUARE)
                ties[other] = estimate.ties.get(other, new)
        estimate.ties = ties


def _first(mask: int, other: int) -> tuple[float, float]:
    """Return the share and error expected of two processors that occupy these."""
    if mask & other:
        return SHARING_SHARE, SHARING_ERROR
    return (USUAL_SHARE, USUAL_ERROR) if mask and other else (APART_SHARE, APART_ERROR)


def share_of(tie: Tie) -> float:
    """Return which part of the other one's moves this one makes, from 0 to 1."""
    return min(1.0, max(0.0, tie.product / tie.square))


def error_of(tie: Tie) -> float:
    """Return the square of what the regression misses, as a share of the move's."""
    return min(1.0, max(LEAST_ERROR, tie.error / tie.square))


def spread(estimates: dict[str, Estimate], name: str, what: int, before: tuple[float, int]) -> bool:
    """Take in what a run on ``name`` was (``estimator.JUMP`` ...); return whether others should look again.

    ``before`` are its mean and the time of its last run before this one.
    """
    mine = estimates[name]
    heard = mine.heard
    if heard:
        _learn(estimates, name, before[0])
    mine.seen = mine.mean
    if what == JUMP:
        _tell(estimates, name, mine.mean - before[0])
    elif what == SETTLED:
        _tell(estimates, name, mine.mean - before[0], before[1])
    elif heard or -TELL <= mine.mean - mine.told <= TELL:
        if heard:
            mine.told = mine.mean
        if mine.updated_ns - mine.vouched_ns >= VOUCH_NS:
            _vouch(estimates, name)
        return bool(heard)
    else:
        _tell(estimates, name, mine.mean - mine.told, mine.told_ns)
    mine.told, mine.told_ns = mine.mean, mine.updated_ns
    return True


def _tell(estimates: dict[str, Estimate], name: str, move: float, since_ns: int | None = None) -> None:
    """Move the others along; with ``since_ns`` only those that have not run since, for these have seen it."""
    mine = estimates[name]
    unsure = mine.variance if mine.doubt != 0.0 else 0.0
    for estimate in estimates.values():
        tie = estimate.ties.get(name)
        if tie is not None and (since_ns is None or estimate.updated_ns <= since_ns):
            share = share_of(tie)
            own = share * move
            estimate.mean += own
            estimate.told += own
            if estimate.heard != name:
                estimate.heard, estimate.heard_move, estimate.heard_doubt = name, 0.0, 0.0
            past, doubt = estimate.heard_move, share * share * unsure
            whole = estimate.heard_move = past + move
            missed = error_of(tie) * (whole * whole - past * past)
            estimate.variance = max(MIN_VARIANCE, estimate.variance + missed + doubt - estimate.heard_doubt)
            estimate.heard_doubt = doubt


def _vouch(estimates: dict[str, Estimate], name: str) -> None:
    """Let the others drift, since they were sure last, only as far as this one cannot tell that they did not."""
    now_ns = estimates[name].vouched_ns = estimates[name].updated_ns
    for estimate in estimates.values():
        tie = estimate.ties.get(name)
        if tie is not None and now_ns > estimate.since_ns:
            estimate.variance += error_of(tie) * (variance_at(estimate, now_ns) - estimate.variance)
            estimate.since_ns = now_ns


def _learn(estimates: dict[str, Estimate], name: str, thought: float) -> None:
    """Take one pair into the regression on who told last: its move, and what this one's run says of its own.

    While the teller is in doubt itself, this run tells it and the others whether it leapt; ``thought`` is the mean
    that this one had before its run, moved along by as much of the leap as was believed.
    """
    mine = estimates[name]
    tie, teller = mine.ties.get(mine.heard), estimates.get(mine.heard)
    heard, move, own = mine.heard, mine.heard_move, mine.mean - mine.seen
    mine.heard, mine.heard_move, mine.heard_doubt = "", 0.0, 0.0
    if tie is None or teller is None or mine.doubt != 0.0:
        return
    if teller.doubt != 0.0:
        share = share_of(tie)
        if share >= LEAST_SHARE:
            believed = teller.mean - teller.before
            leapt = (mine.mean - thought) / share + believed
            teller.mean = teller.told = teller.seen = settle_doubt(teller, teller.before + leapt)
            teller.variance = teller.noise + error_of(tie) * leapt * leapt
            _tell(estimates, heard, teller.mean - teller.before - believed, teller.updated_ns)
    elif not -TELLING < move < TELLING:
        missed = own - share_of(tie) * move
        tie.error = KEPT * tie.error + missed * missed
        tie.product = KEPT * tie.product + move * own
        tie.square = KEPT * tie.square + move * move
