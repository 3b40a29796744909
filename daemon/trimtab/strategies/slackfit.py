"""SlackFit: Khare et al., "SuperServe: Fine-Grained Inference Serving for Unpredictable Workloads", NSDI 2025.

When a processor is free, the slack of the request at the head of the queue picks the bucket: the slowest, and with
that the most accurate, that still fits into the slack. Bursts shrink the slack at the head, and with that the
variants, without any forecast.

Differs from the paper's setting: there all sub-networks are in memory at once, so that a switch costs nothing;
here one has to be loaded before it is used. Buckets are the candidates' own latencies instead of evenly spaced
ranges of (sub-network, batch). A request is picked for when it arrives, by the smaller of its own slack and the
head's, and once more when its processor is free and it is the head itself. When nothing fits, the fastest serves.
"""

from trimtab.core.queueing import LATE_CLASS
from trimtab.core.state import State
from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns


def head_slack_ns(state: State, now_ns: int) -> int | None:
    """Return the slack of the first queued request that has not given its deadline up, if there is one."""
    for rank, _, _, request_id in state.queue[:1]:
        if rank < LATE_CLASS:
            return state.live[request_id].deadline_ns - now_ns - int(state.overhead_ns)
    return None


class SlackFit(Picking):
    """The most accurate candidate that fits into the slack at the head of the queue."""

    again = True

    def pick(self, ask: Ask) -> Pick:
        """Return the most accurate entry whose profiled latency fits, the fastest when none does."""
        at = ask.at
        head_ns = head_slack_ns(ask.state, at.now_ns)
        fitting = []
        for entry, slack_ns in ask.slacks():
            bucket_ns = slack_ns if head_ns is None else min(slack_ns, head_ns)
            if latency_ns(entry, at) <= bucket_ns:
                fitting.append(entry)
        if fitting:
            return Pick(min(fitting, key=lambda e: (-e.top_accuracy, e.latency_ns, e.name)), False)
        ends = zip(ask.entries, ask.waits_ns, strict=True)
        entry, wait_ns = min(ends, key=lambda end: (end[1] + latency_ns(end[0], at), end[0].name))
        return Pick(entry, wait_ns + latency_ns(entry, at) > at.time_ns)
