"""Throughput of two workers over one, on Dask and on Ray.

    python tests/benchmarks/ratios.py engines
    python tests/benchmarks/bench_engines.py [SECONDS]

Two measurements, told apart. Tasks that wait SECONDS show what the engine itself lets two workers
do, whatever else the machine does. Tasks of processor time need two free cores to show anything:
each is the same sum, its size set so that one takes SECONDS on a free core. Rounds of one and of
two workers take turns; the best round of each counts. Before each, workers start their processes.

A ratio is time with two workers over time with one: 1.8 times the throughput is at most 0.556.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ratios import NotMeasuredError, Ratio, show

from nnw_onnx import plugins
from nnw_onnx.vocabulary import Engine, Spec

TASKS, ROUNDS = 8, 2
ASKED = 1 / 1.8
_SUM = 4_000_000


def sized(seconds: float) -> range:
    """Numbers whose sum takes so long on a core that has nothing else to do."""
    best = min(_timed(lambda: sum(range(_SUM))) for _ in range(5))
    return range(int(_SUM * seconds / best))


def _timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


@contextmanager
def dask_workers(count: int) -> Iterator[Engine]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=count, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield plugins.create(Engine, Spec("dask", {"address": cluster.scheduler_address}))


@contextmanager
def ray_workers(count: int) -> Iterator[Engine]:
    import logging

    try:
        import ray
    except ImportError as error:
        raise NotMeasuredError("needs ray: pip install '.[ray]'") from error
    ray.init(
        num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    try:
        yield plugins.create(Engine, Spec("ray"))
    finally:
        ray.shutdown()


def wall(engine: Engine, call: Callable[..., object], item: object) -> float:
    """Seconds of `TASKS` equal tasks, the workers' processes already there."""

    def mapped(count: int) -> list[object]:
        return list(engine.map(call, [item] * count, timeout=120.0, memory_limit=None))

    mapped(4)
    start = time.perf_counter()
    assert all(outcome.error is None for outcome in mapped(TASKS))
    return time.perf_counter() - start


def ratios(seconds: float = 1.0) -> Iterator[Ratio]:
    """Two workers over one, for each engine and kind of task."""
    kinds = {"waiting": (time.sleep, seconds), "computing": (sum, sized(seconds))}
    for name, workers in (("dask", dask_workers), ("ray", ray_workers)):
        took: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for count in (1, 2):
                with workers(count) as engine:
                    for kind, (call, item) in kinds.items():
                        took.setdefault((kind, count), []).append(wall(engine, call, item))
        for kind in kinds:
            yield Ratio(
                f"{name}, {TASKS} tasks {kind} {seconds:g} s: two workers",
                min(took[kind, 2]), "one worker", min(took[kind, 1]), "s wall", ASKED,
            )  # fmt: skip


if __name__ == "__main__":
    show(ratios(*map(float, sys.argv[1:])))
