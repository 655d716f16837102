"""How many threads arithmetic may use; what is computed never depends on it."""

from __future__ import annotations

import os

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""Variables of the environment that bound threads; a worker of an evaluation has 1 in all."""


def threads() -> int:
    """The cores that this process may run on, or fewer where a variable says so; at least 1."""
    given = (os.environ.get(name, "") for name in THREAD_VARIABLES)
    limits = [int(value) for value in given if value.isdecimal()]
    return max(1, min([_cores(), *limits]))


def _cores() -> int:
    if "sched_getaffinity" in vars(os):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
