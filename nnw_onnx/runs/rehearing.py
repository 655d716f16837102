"""The claims of a trial once more, on its network put back into the order of the unwatermarked one.

Wrong keys are tried on it too: the order knows nothing of any key, so that one alignment serves all
of them. What this is nothing for is not heard a second time; see `resync.refusal`. Where nothing
could be put in order the second time is the first: whoever tries this loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nnw_onnx import plugins
from nnw_onnx.errors import NnwError
from nnw_onnx.records import AligningRecord, ControlRecord, VerdictRecord
from nnw_onnx.runs import resync
from nnw_onnx.runs.context import Context, network_of
from nnw_onnx.runs.control import controls_of
from nnw_onnx.runs.modify import Stacked
from nnw_onnx.runs.realigning import Realigned, realigned
from nnw_onnx.runs.recording import verdict_record
from nnw_onnx.runs.suspect import Running
from nnw_onnx.vocabulary import Claim, Claims, Method, Trial


@dataclass(frozen=True)
class Before:
    """What was heard on the network as it is.

    Attributes:
        verdicts: on claims.
        controls: what wrong keys came to.
    """

    verdicts: Sequence[VerdictRecord]
    controls: Sequence[ControlRecord]


def heard_again(
    context: Context,
    trial: Trial,
    stacked: Stacked,
    run: Running,
    claims: Mapping[str, Claim],
    first: Before,
) -> dict[str, object]:
    """The fields of a trial's record that tell of it; none where it is not asked for.

    Args:
        context: of the run.
        trial: whose network is heard.
        stacked: that network.
        run: asks it.
        claims: injection -> its claim.
        first: what was heard on the network as it is.
    """
    wanted = {
        injection: claim
        for injection, claim in claims.items()
        if resync.refusal(plugins.method_of(claim.key)) is None
    }
    if not context.resynchronise or trial.setting is None or not wanted:
        return {}
    wrong = tuple(one for one in trial.claims if _is_wrong(context, one))
    try:
        found = realigned(stacked.network, network_of(context, trial.network))
    except NnwError as error:
        told = AligningRecord(recovered=False, reason=str(error))
    else:
        told = resync.facts(found)
        if found.recovered:
            again = _Again(context, replace(trial, claims=wrong), stacked, run, found)
            return {**again.fields(wanted), "aligning": told}
    return {**_as_before(wanted, wrong, first), "aligning": told}


def _is_wrong(context: Context, claims: Claims) -> bool:
    """Whether these are wrong keys of a technology that this is something for."""
    if claims.of != "wrong":
        return False
    technology = context.technologies[claims.technology or 0]
    return resync.refusal(plugins.create(Method, technology.method)) is None


def _as_before(
    wanted: Mapping[str, Claim], wrong: Sequence[Claims], first: Before
) -> dict[str, object]:
    technologies = {one.technology or 0 for one in wrong}
    return {
        "resynchronised": tuple(v for v in first.verdicts if v.injection in wanted),
        "controls_resynchronised": tuple(c for c in first.controls if c.technology in technologies),
    }


@dataclass(frozen=True)
class _Again:
    """A trial whose network was put in order; of its claims only wrong keys are left."""

    context: Context
    trial: Trial
    stacked: Stacked
    run: Running
    found: Realigned

    def fields(self, claims: Mapping[str, Claim]) -> dict[str, object]:
        """Verdicts and controls on the network in order."""
        context, stacked, found = self.context, self.stacked, self.found
        now = Running(found.network, context.settings, context.batch_size)
        suspect_of = resync.suspects(found, stacked.network, self.run, now, stacked.around)
        heard = resync.heard(suspect_of, claims.values(), context.false_positive_rate, found)
        return {
            "resynchronised": tuple(
                verdict_record(injection, verdict)
                for injection, verdict in zip(claims, heard, strict=True)
            ),
            "controls_resynchronised": controls_of(context, self.trial, suspect_of),
        }
