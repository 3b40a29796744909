"""Chance: a candidate drawn evenly for each request, the floor below which no rule makes sense.

The draw is a hash of seed and request id, so that the same requests get the same answers in a replay. No paper.
"""

from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns

OFFSET, PRIME, MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def fnv1a(text: str) -> int:
    """Return the 64-bit FNV-1a hash of a text's UTF-8 bytes."""
    value = OFFSET
    for byte in text.encode():
        value = (value ^ byte) * PRIME & MASK
    return value


def drawn(seed: int, text: str, count: int) -> int:
    """Return a number in 0..count-1 that depends on nothing but seed and text: their hash, its bits mixed."""
    value = fnv1a(f"{seed}/{text}")
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK
    return (value ^ value >> 33) % count


class Random(Picking):
    """Any candidate that can serve, each as likely as the other."""

    def __init__(self, seed: int = 0) -> None:
        """Draw with ``seed``."""
        self.seed = seed

    @classmethod
    def parse(cls, argument: str) -> "Random":
        """Read the seed, if one is given; raise ``ValueError``."""
        return cls(int(argument) if argument else 0)

    def pick(self, ask: Ask) -> Pick:
        """Return the entry drawn for this request."""
        pairs = sorted(ask.slacks(), key=lambda pair: pair[0].name)
        entry, slack_ns = pairs[drawn(self.seed, ask.live.request.request_id, len(pairs))]
        return Pick(entry, latency_ns(entry, ask.at) > slack_ns)
