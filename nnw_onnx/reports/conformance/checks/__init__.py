"""The checks that clauses name: small functions from the report of a run to an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nnw_onnx.reports.conformance.answers import Answer
from nnw_onnx.reports.conformance.checks import (
    cost,
    fingerprints,
    imperceptibility,
    modifications,
    robustness,
    setting,
    workflows,
)

CHECKS: Mapping[str, Callable[..., Answer]] = {
    "training-set": imperceptibility.training_set,
    "test-set": imperceptibility.test_set,
    "networks": imperceptibility.networks,
    "injected": imperceptibility.injected,
    "prepared": imperceptibility.prepared,
    "unmarked-quality": imperceptibility.unmarked_quality,
    "marked-run": imperceptibility.marked_run,
    "same-measures": imperceptibility.same_measures,
    "both-reported": imperceptibility.both_reported,
    "own-semantics": imperceptibility.own_semantics,
    "annex": imperceptibility.annex,
    "modified": robustness.modified,
    "detector": robustness.detector,
    "decoder": robustness.decoder,
    "ratios": robustness.ratios,
    "intensities": robustness.intensities,
    "types": robustness.types,
    "modification": modifications.modification,
    "fingerprints-computed": fingerprints.computed,
    "fingerprints-modified": fingerprints.modified,
    "fingerprints-searched": fingerprints.searched,
    "cost-value": cost.value,
    "cost-epochs": cost.epochs,
    "cost-networks": cost.networks,
    "cost-limits": cost.limits,
    "cost-environment": cost.environment,
    "workflow": workflows.workflow,
    "apart": workflows.never,
    "unread": workflows.unread,
    "general-setting": setting.general_setting,
    "technology": setting.technology,
    "bit-errors": setting.bit_errors,
    "profile": setting.profile,
}
"""Name in a clause -> the check."""
