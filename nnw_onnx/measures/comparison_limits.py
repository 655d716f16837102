"""Whether places hang on what counts as usable: the same order at other limits of the loss.

No test is made here: claims are fixed at the limit of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnw_onnx.measures.aligning import Aligned
from nnw_onnx.measures.attacks import Attacked, Entry
from nnw_onnx.measures.compared import LimitedPlaces, Place

RATIOS = (0.4, 1.0, 2.0)
"""Of the plan's limit: 2, 5 and 10 points where it is 5."""
_DIGITS = 9
"""What rounding tells apart is tied."""


def limited_places(
    common: Aligned, members: Sequence[Entry], found: Attacked
) -> tuple[LimitedPlaces, ...]:
    """Places of a group at each limit, the smallest limit first.

    Args:
        common: the runs.
        members: the technologies.
        found: what they met, at the limit of the plan.
    """
    usual = common.runs[0].run.headline.usable_loss
    return tuple(
        _limited(
            limit, members, found if limit == usual else found.at_limit(common, members, limit)
        )
        for limit in (usual * ratio for ratio in RATIOS)
    )


def _limited(limit: float, members: Sequence[Entry], found: Attacked) -> LimitedPlaces:
    scores = found.scores(None)
    success = [] if scores is None else [round(float(x), _DIGITS) for x in scores.mean(axis=0)]
    ranked = [x for entry, x in zip(members, success, strict=bool(success)) if entry.attacked]
    return LimitedPlaces(
        usable_loss=limit,
        intensities=sum(map(len, found.counting.values())),
        places=tuple(
            Place(
                contestant=entry.number,
                success=x,
                place=1 + sum(y < x for y in ranked) if entry.attacked else None,
            )
            for entry, x in zip(members, success, strict=bool(success))
        ),
    )
