"""Who runs the cells: processes on this machine, or the workers of a Dask cluster."""

import importlib
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Final, Protocol

from trimtab_sim.sweep.cell import Row, run_cell
from trimtab_sim.sweep.plan import Cell

TRIES: Final = 3
"""So often a cell is given to a worker before a lost worker ends the sweep."""
AHEAD: Final = 4
"""Cells that wait for each worker, so that none is idle and memory stays flat."""


class PoolError(RuntimeError):
    """The cells cannot be run: no such cluster, or workers die again and again."""


class Pool(Protocol):
    """Runs cells in any order."""

    def run(self, cells: Iterable[Cell]) -> Iterator[Row]:
        """Yield each cell's row when it is done; raise ``PoolError``, or what a cell raised."""


class LocalPool:
    """Processes on this machine. When one dies (killed for its memory, say) its cells are run again."""

    def __init__(self, workers: int) -> None:
        """Use so many processes."""
        self.workers = workers

    def run(self, cells: Iterable[Cell]) -> Iterator[Row]:
        """Yield each cell's row when it is done."""
        left = iter(cells)
        again: dict[Cell, int] = {}
        while True:
            lost: dict[Cell, int] = {}
            yield from self._until_broken([*again], left, lost)
            if not lost:
                return
            again = {cell: again.get(cell, 0) + 1 for cell in lost}
            if max(again.values()) >= TRIES:
                number = min(cell.number for cell in again)
                raise PoolError(f"workers died {TRIES} times in a row, at cell {number} or one beside it")

    def _until_broken(self, first: list[Cell], left: Iterator[Cell], lost: dict[Cell, int]) -> Iterator[Row]:
        """Run cells until none is left or a worker has died; then ``lost`` holds those under way."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            running: dict[Future[Row], Cell] = {pool.submit(run_cell, cell): cell for cell in first}
            while True:
                for cell in islice(left, self.workers * AHEAD - len(running)):
                    running[pool.submit(run_cell, cell)] = cell
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        row = future.result()
                    except BrokenProcessPool:
                        lost.update(dict.fromkeys(running.values(), 0))
                        return
                    del running[future]
                    yield row


class DaskPool:
    """The workers of a Dask cluster that is there; Dask runs the cells of a lost worker again on another."""

    def __init__(self, address: str) -> None:
        """Connect to a scheduler such as ``tcp://host:8786``; raise ``PoolError`` when that fails."""
        try:
            self._dask: Any = importlib.import_module("distributed")
        except ImportError as error:
            raise PoolError("a cluster needs Dask: pip install 'trimtab[sim]'") from error
        try:
            self._client = self._dask.Client(address, timeout="10s")
        except (OSError, ValueError) as error:
            raise PoolError(f"no Dask scheduler answers at {address}: {error}") from error

    def run(self, cells: Iterable[Cell]) -> Iterator[Row]:
        """Yield each cell's row when it is done."""
        left = iter(cells)
        submit = self._client.submit
        with self._client:
            ahead = AHEAD * max(1, sum(self._client.nthreads().values()))
            running = [submit(run_cell, cell, pure=False, retries=TRIES) for cell in islice(left, ahead)]
            finished = self._dask.as_completed(running)
            for future in finished:
                yield future.result()
                for cell in islice(left, 1):
                    finished.add(submit(run_cell, cell, pure=False, retries=TRIES))
