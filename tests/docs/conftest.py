"""Make the benchmarks importable: what they compute ends up in the documents."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
