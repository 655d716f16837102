"""A report to be given away: without the seed that keys follow from, and what it could be tried on.

Who has the configuration of an evaluation and its seed can make its keys again. A digest over both,
or over anything that a secret went into, tells whether a guess of the seed was right.
"""

from __future__ import annotations

from nnw_onnx.reports.model import Report

_SEED = "seed"


def shareable(report: Report) -> Report:
    """The report without seed, digests that know it, and commitments.

    All that was measured stays as it is. A seed that can be guessed, such as 0, is no secret: then
    keys can be made again by whoever has the networks and the configuration.
    """
    unknown = {"seed": None, "evaluation_sha256": None, "records_sha256": None}
    technologies = tuple(
        t.model_copy(update={"injections": t.injections.model_copy(update={"commitments": ()})})
        for t in report.technologies
    )
    configuration = {k: v for k, v in report.configuration.items() if k != _SEED}
    return report.model_copy(
        update={
            "technologies": technologies,
            "configuration": configuration,
            "reproducibility": report.reproducibility.model_copy(update=unknown),
        }
    )
