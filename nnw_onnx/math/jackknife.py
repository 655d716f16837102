"""The jackknife: what each sample contributes to a measure that is no mean over samples.

Quenouille 1956; Tukey 1958. The standard error of the mean of the pseudo-values is that of the
measure; of two measures of the same samples, that of the differences is the paired one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def pseudo_values(whole: float, without: Numbers) -> Numbers | None:
    """Pseudo-values (n,) whose mean is the measure itself, so without the jackknife's own bias.

    Args:
        whole: the measure of all samples.
        without: (n,) the measure of all but one, each of them left out; NaN where it has none.

    Returns:
        None where there are fewer than two samples, or the others have no measure without one.
    """
    if len(without) < 2 or np.isnan(without).any():
        return None
    found: Numbers = whole + (len(without) - 1) * (without.mean() - without)
    return found


def mean_of_known(values: Numbers) -> Numbers:
    """Mean (n,) over the first axis of (k, n) without what is NaN; NaN where all of it is."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    found: Numbers = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return found
