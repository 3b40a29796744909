"""Ask a running daemon (`trimtab serve`) for the same image three times, with different goals.

Run: python examples/classify.py
"""

from trimtab.adapters.family_store import FolderStore, load_samples, shipped_families
from trimtab.client import Client


def main() -> None:
    """Send one test image with three sets of goals and print who served it, and why."""
    stored = next(s for s in FolderStore((shipped_families(),)).families() if s.family.task == "fashion")
    arrays, labels = load_samples(stored)
    image = arrays["image"][:1]
    names = stored.family.labels
    with Client(app="example") as client:
        for goals in (
            {"latency_budget_ms": 100.0, "prefer": "accuracy"},
            {"latency_budget_ms": 100.0, "min_accuracy": 0.9, "prefer": "energy"},
            {"latency_budget_ms": 100.0, "prefer": "latency"},
        ):
            reply = client.infer("fashion", image, **goals)  # type: ignore[arg-type]
            print(f"{goals}: {names[reply.label]} (truth: {names[int(labels[0])]})")
            print(
                f"  {reply.variant} on {reply.processor}, {reply.run_us} us, {reply.energy_uj:.0f} uJ ({reply.energy_source})"
            )
            print(f"  {reply.reason}")


if __name__ == "__main__":
    main()
