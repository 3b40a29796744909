"""How long one decision takes in-process, on the ground of ``benchmarks/decision.py``."""

from decision import measure

from scheduler_figures import Row

WHAT = "decision in-process on 4 processors: 64 candidates p50 <= 15 us, p99 <= 60 us; 256 candidates p50 <= 30 us"
BARS = {64: {"p50_us": 15.0, "p99_us": 60.0}, 256: {"p50_us": 30.0}}
SITUATIONS = ("idle", "horizon", "loaded")
"""An idle device; one whose horizon moves prices; one where eight requests wait."""


def rows(quick: bool) -> list[Row]:
    """Return p50 and p99 of each situation; the loop beside them tells how fast this machine was meanwhile."""
    found = []
    for candidates, bars in BARS.items():
        for situation in SITUATIONS:
            figures = measure(situation, candidates, 4_000 if quick else 20_000)
            for name, bar in bars.items():
                beside = {
                    "p99_us": figures["p99_us"],
                    "loop_us": figures["reference_us"],
                    "p50/loop": figures["p50_ratio"],
                }
                case = f"{candidates} candidates, {situation}, {name.removesuffix('_us')} in us"
                found.append(Row(case, figures[name], f"<= {bar:g}", figures[name] <= bar, beside))
    return found
