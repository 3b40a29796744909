"""ALERT: Wan et al., "ALERT: Accurate Learning for Energy and Timeliness", USENIX ATC 2020.

One slow-down factor xi ~ N(mu, sigma^2) for the whole device, latency = xi * profile, by the paper's adaptive
Kalman filter with the paper's constants. Each candidate's expected accuracy counts what is late as worth
nothing (anytime networks: the staircase over their exits). With an energy limit the expected accuracy is
maximised under it; with an accuracy floor alone, energy is minimised above it; with neither, accuracy is
maximised. Where that is infeasible energy is given up first, then accuracy.

Differs from the paper's setting: no power caps to choose among; the deadline is what queue, load and trimtab's
own overhead leave of it; one input per request, so no deadline is shared. Profiles hold energy above idle:
idle power is then paid whatever is chosen, and the paper's idle ratio phi, which adds the same to every
candidate, is left out. Energy limits are likewise above idle.
"""

from math import sqrt

from trimtab.core.selection import Entry, on_time_prob
from trimtab.core.state import Live, State
from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns

ALPHA = 0.3
FIRST_GAIN = 0.5
MEASUREMENT_NOISE = 0.001
LEAST_PROCESS_NOISE = 0.1
FIRST_MEAN = 1.0
FIRST_VARIANCE = 0.1

MEAN, VARIANCE, GAIN, NOISE = "mean", "variance", "gain", "process noise"


def observe(notes: dict[str, float], ratio: float) -> None:
    """Update the filter in ``notes`` with one measured latency over its profile (paper, section 3.4)."""
    mean, variance = notes.get(MEAN, FIRST_MEAN), notes.get(VARIANCE, FIRST_VARIANCE)
    gain, noise = notes.get(GAIN, FIRST_GAIN), notes.get(NOISE, LEAST_PROCESS_NOISE)
    innovation = ratio - mean
    noise = max(LEAST_PROCESS_NOISE, ALPHA * noise + (1.0 - ALPHA) * (gain * innovation) ** 2)
    variance = (1.0 - gain) * variance + noise
    gain = variance / (variance + MEASUREMENT_NOISE)
    notes[MEAN] = mean + gain * innovation
    notes[VARIANCE], notes[GAIN], notes[NOISE] = variance, gain, noise


def expected_accuracy(entry: Entry, slack_ns: int, batch: int, mean: float, sigma: float) -> float:
    """Return the accuracy an entry is expected to have reached after ``slack_ns``; nothing in time counts 0."""
    candidate = entry.candidate
    reached = [
        on_time_prob((slack_ns / (batch * max(1, exit_ns)) - mean) / sigma)
        for exit_ns in candidate.latency_ns
    ]
    steps = zip(candidate.accuracy_frac, reached, [*reached[1:], 0.0], strict=True)
    return sum([accuracy * max(0.0, here - later) for accuracy, here, later in steps])


class Alert(Picking):
    """Expected accuracy and energy under one global slow-down.

    With a ``confidence`` above 0 candidates less likely than that to be on time are out where others are left:
    the percentile guarantee that the paper offers beside its goals.
    """

    learns = True

    def __init__(self, confidence: float = 0.0) -> None:
        """Ask for a probability (0..1) of being on time; 0 leaves it to the expected accuracy."""
        self.confidence = confidence

    @classmethod
    def parse(cls, argument: str) -> "Alert":
        """Read the confidence, if one is given; raise ``ValueError``."""
        confidence = float(argument) if argument else 0.0
        if not 0.0 <= confidence < 1.0:
            raise ValueError("a confidence is at least 0 and below 1")
        return cls(confidence)

    def pick(self, ask: Ask) -> Pick:
        """Return the best entry for the goals given, giving up energy first, then accuracy."""
        at, notes = ask.at, ask.state.notes
        mean, sigma = notes.get(MEAN, FIRST_MEAN), sqrt(notes.get(VARIANCE, FIRST_VARIANCE))
        judged = [
            (expected_accuracy(e, slack, at.batch, mean, sigma), e.candidate.expected_energy_uj * at.batch * mean, e, slack)
            for e, slack in ask.slacks()
        ]  # fmt: skip
        judged = self._sure(judged, at.batch, mean, sigma) or judged
        limit, floor = at.max_energy_uj, at.floor_frac
        frugal = [one for one in judged if limit is None or one[1] <= limit] or judged
        if limit is None and floor > 0.0 and (good := [one for one in judged if one[0] >= floor]):
            best = min(good, key=lambda one: (one[1], -one[0], one[2].name))
        else:
            best = min(frugal, key=lambda one: (-one[0], one[1], one[2].name))
        return Pick(best[2], mean * latency_ns(best[2], at) > best[3])

    def _sure(
        self, judged: list[tuple[float, float, Entry, int]], batch: int, mean: float, sigma: float
    ) -> list[tuple[float, float, Entry, int]]:
        """Return those likely enough to be on time."""
        if self.confidence == 0.0:
            return judged
        return [
            one
            for one in judged
            if on_time_prob((one[3] / (batch * max(1, one[2].candidate.latency_ns[-1])) - mean) / sigma)
            >= self.confidence
        ]

    def ran(self, _live: Live, profile_ns: int, run_ns: int, state: State, /) -> None:
        """Update the filter."""
        observe(state.notes, run_ns / max(1, profile_ns))
