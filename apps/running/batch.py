"""The loop over inputs that applications share: errors stay with their item, and several processes may work."""

import functools
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastdiff.apps.running.inputs import Item
from fastdiff.solvers.errors import FastdiffError, UsageError

SOME_FAILED = 4  # exit code
LOADING = "loading the models"  # name of the progress before the first item

Tick = Callable[[float], None]  # called with the share of the item that is done, 0 to 1
Work = Callable[[Item, Tick], Any]
Setup = Callable[[Any], Work]
Pool = ProcessPoolExecutor
Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one item: the value of the worker, or one sentence on its failure."""

    item: Item
    value: Any = None
    error: str | None = None
    exit_code: int = 0
    trace: str | None = None


@dataclass(frozen=True)
class Progress:
    """The progress of the loop: `done` items of `total` (in fractions), after `seconds`.

    `finished` is set at the end of an item.
    """

    done: float
    total: int
    seconds: float
    name: str
    finished: Outcome | None = None

    @property
    def per_minute(self) -> float:
        """Mean items per minute."""
        return 60 * self.done / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the mean; None before anything is done."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None


Watch = Callable[[Progress], None]


@contextmanager
def open_pool(jobs: int) -> Iterator[Pool | None]:
    """Yield `jobs` worker processes, which start as work arrives and end with the block; None for a single job."""
    if jobs <= 1:
        yield None
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (threads,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def call(pool: Pool, function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a function in one of the processes, and return its value or raise its error."""
    try:
        return pool.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise FastdiffError("a worker process died before the first input: memory for --jobs 1 may suffice") from error


def run(
    items: Sequence[Item],
    setup: Setup,
    options: Hashable,
    *,
    jobs: int = 1,
    watch: Watch | None = None,
    pool: Pool | None = None,
) -> list[Outcome]:
    """Give every item to a worker and return the outcomes in the order of the items.

    `setup(options)` loads the tools of the work and returns the worker, once in each process of `pool`, if it is given,
    else of `jobs` processes; this function raises its errors. An item that fails, in whatever way, leaves the others
    alone. KeyboardInterrupt passes through; workers write atomically and leave no partial output.
    """
    if jobs < 1:
        raise UsageError(f"{jobs} jobs: at least 1")
    if pool is None and min(jobs, len(items)) > 1:
        with open_pool(min(jobs, len(items))) as pool:
            return run(items, setup, options, watch=watch, pool=pool)
    started = time.monotonic()

    def tell(done: float, name: str, finished: Outcome | None = None) -> None:
        if watch:
            watch(Progress(done, len(items), time.monotonic() - started, name, finished))

    def tell_share(index: int, name: str, share: float) -> None:
        tell(index + share, name)

    tell(0, LOADING)
    if pool is not None:
        outcomes = {}
        for index, outcome in _in_processes(items, setup, options, pool):
            outcomes[index] = outcome
            tell(len(outcomes), outcome.item.source.name, outcome)
        return [outcomes[index] for index in range(len(items))]

    work = setup(options)
    results = []
    for index, item in enumerate(items):
        tell(index, item.source.name)
        outcome = _attempt(work, item, functools.partial(tell_share, index, item.source.name))
        results.append(outcome)
        tell(index + 1, item.source.name, outcome)
    return results


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if all items succeeded, 4 if some failed, and the code of the first failure if all failed."""
    codes = [outcome.exit_code for outcome in outcomes if outcome.exit_code]
    if len(codes) == len(outcomes) and codes:
        return codes[0]
    return SOME_FAILED if codes else 0


def _attempt(work: Work, item: Item, tick: Tick) -> Outcome:
    try:
        if item.problem:
            raise UsageError(item.problem)
        return Outcome(item, work(item, tick))
    except FastdiffError as error:
        return Outcome(item, error=str(error), exit_code=error.exit_code, trace=traceback.format_exc())
    except MemoryError:
        return Outcome(item, error=f"{item.source.name} needs more memory than there is", exit_code=2)
    except Exception as error:
        sentence = f"{item.source.name} failed unexpectedly: {type(error).__name__}: {error}"
        return Outcome(item, error=sentence, exit_code=SOME_FAILED, trace=traceback.format_exc())


def _in_processes(items: Sequence[Item], setup: Setup, options: Hashable, pool: Pool) -> Iterator[tuple[int, Outcome]]:
    waiting: dict[Future[Outcome], int] = {
        pool.submit(_attempt_there, setup, options, item): index for index, item in enumerate(items)
    }
    while waiting:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            index = waiting.pop(future)
            try:
                yield index, future.result()
            except BrokenProcessPool:
                sentence = f"{items[index].source.name}: a worker process died; run again to go on"
                yield index, Outcome(items[index], error=sentence, exit_code=SOME_FAILED)


def _begin(threads: int) -> None:
    """Set up a worker process: Ctrl-C ends it at once, and libraries loaded later share the processor.

    The worker ends with the process that started it, whose locks are free from then on.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _attempt_there(setup: Setup, options: Hashable, item: Item) -> Outcome:
    return _attempt(_worker(setup, options), item, lambda share: None)


@functools.cache
def _worker(setup: Setup, options: Hashable) -> Work:
    """Return the worker of this process, made when the first item arrives."""
    return setup(options)
