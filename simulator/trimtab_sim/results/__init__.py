"""What runs came to: figures per policy, tables of requests and device, a page, and traces to look at."""

from trimtab_sim.results.collect import Results
from trimtab_sim.results.tables import TableError

__all__ = ["Results", "TableError"]
