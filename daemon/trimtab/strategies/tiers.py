"""Battery tiers: the variant that a table of charge levels names, what apps do by hand today. No paper.

``0.5=large,0.2=medium,else=small``: above half full the variant ``large``, above a fifth ``medium``, below that
``small``. A name is a shell-style pattern: of the variants it matches the most accurate serves, the one with the
least energy where a task has none that it matches. Without a battery the device counts as full.
"""

from fnmatch import fnmatchcase

from trimtab.strategies.picking import Ask, Pick, Picking, latency_ns

ELSE = "else"
FORM = "THRESHOLD=VARIANT,...,else=VARIANT"


class Tiers(Picking):
    """One variant per range of the battery's charge."""

    def __init__(self, above: tuple[tuple[float, str], ...], lowest: str) -> None:
        """Serve with the pattern of the highest threshold (fraction of charge) exceeded, else with ``lowest``."""
        self.above = tuple(sorted(above, reverse=True))
        self.lowest = lowest

    @classmethod
    def parse(cls, argument: str) -> "Tiers":
        """Read thresholds and variants; raise ``ValueError``."""
        above: dict[float, str] = {}
        *steps, (last, lowest) = [part.partition("=")[::2] for part in argument.split(",")]
        if last != ELSE or not lowest:
            raise ValueError("the last part says what serves below every threshold")
        for threshold, variant in steps:
            frac = _fraction(threshold)
            if not (0.0 <= frac < 1.0 and variant) or frac in above:
                raise ValueError(f"{threshold!r} is no fraction of its own below 1 with a variant")
            above[frac] = variant
        return cls(tuple(above.items()), lowest)

    def tier(self, battery_frac: float | None) -> str:
        """Return the pattern for a charge; ``None`` counts as full."""
        charge = 1.0 if battery_frac is None else battery_frac
        return next((variant for threshold, variant in self.above if charge > threshold), self.lowest)

    def pick(self, ask: Ask) -> Pick:
        """Return the tier's variant where it finishes first."""
        pattern, pairs = self.tier(ask.state.device.battery_frac), ask.slacks()
        matching = [e for e, _ in pairs if fnmatchcase(e.candidate.variant, pattern)]
        if matching:
            wanted = min(matching, key=lambda e: (-e.top_accuracy, e.name)).candidate.variant
        else:
            wanted = min(pairs, key=lambda pair: (pair[0].candidate.expected_energy_uj, pair[0].name))[0].candidate.variant  # fmt: skip
        mine = [pair for pair in pairs if pair[0].candidate.variant == wanted]
        entry, slack_ns = min(mine, key=lambda pair: (latency_ns(pair[0], ask.at) - pair[1], pair[0].name))
        return Pick(entry, latency_ns(entry, ask.at) > slack_ns)


def _fraction(text: str) -> float:
    """Return 0..1 from ``0.5`` or ``50%``; raise ``ValueError``."""
    return float(text.removesuffix("%").strip()) / 100.0 if text.endswith("%") else float(text)
