"""Ask the daemon for 400 images as the app would: ``python app.py``. Waits until the daemon is ready."""

import sys
import time
from collections import Counter

from trimtab.adapters.family_store import FolderStore, load_samples, shipped_families
from trimtab.client import Client, TrimtabError

REQUESTS = 400
EVERY_S = 0.01
PATIENCE_S = 120.0


def main() -> None:
    """Send one image after the other and print which variants answered, and how many were right."""
    stored = next(
        one for one in FolderStore((shipped_families(),)).families() if one.family.task == "fashion"
    )
    arrays, labels = load_samples(stored)
    images = arrays["image"]
    variants: Counter[str] = Counter()
    right = 0
    with Client(app="finder") as client:
        wait(client)
        for number in range(REQUESTS):
            row = number % len(images)
            reply = client.infer("fashion", images[row : row + 1], latency_budget_ms=500.0)
            variants[reply.variant] += 1
            right += reply.label == int(labels[row])
            time.sleep(EVERY_S)
    for name, count in variants.most_common():
        sys.stdout.write(f"{name}: {count}\n")
    sys.stdout.write(f"right: {right} of {REQUESTS}\n")


def wait(client: Client) -> None:
    """Return once the daemon serves; at its first start it measures every variant. Raise if it never does."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.status()
        except TrimtabError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    main()
