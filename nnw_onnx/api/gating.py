"""A gate: whether a marked network may go out, told by checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnw_onnx.api import arguments
from nnw_onnx.api.integrity import verify_seal
from nnw_onnx.api.marks import verify, verify_commitment
from nnw_onnx.errors import ConfigurationError, NnwError
from nnw_onnx.measures.checks import Check, met, outcome

if TYPE_CHECKING:
    from nnw_onnx.graph import OnnxNetwork
    from nnw_onnx.runs.beside import Beside
    from nnw_onnx.runs.gate import (
        FalsePositives,
        Gate,
        PayloadNeed,
        QualityNeed,
        SealNeed,
        SurviveTable,
    )
    from nnw_onnx.runs.seals import Seal
    from nnw_onnx.runs.tables import Evaluation
    from nnw_onnx.runs.verify import Verdict
    from nnw_onnx.vocabulary import Claim

_ROUNDING = 1e-12
"""That a share or loss written in decimals may be missed by."""


@dataclass(frozen=True)
class Gated:
    """What became of a gate; as `bool` whether the network may go out.

    Attributes:
        title: of the gate.
        file: name of the network's file.
        checks: every requirement with what was measured.
    """

    title: str
    file: str
    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return met(self.checks)


def gate(
    config: str | Path,
    network: str | Path | None = None,
    *,
    key: str | Path | None = None,
    providers: Sequence[str] = (),
) -> Gated:
    """Check a marked network against the thresholds of a file; as `bool` whether it may go out.

    What cannot be measured has not passed. Call it under `if __name__ == "__main__":`, because it
    starts processes.

    Args:
        config: TOML file of a gate.
        network: the ONNX file that is going out, instead of the one in the configuration; nothing
            is written.
        key: key file, likewise.
        providers: what networks are run with, likewise, such as "cuda".

    Raises:
        InferenceError: a provider does not work here.
        ConfigurationError: the configuration asks for what cannot be checked.
        ModelFileError, KeyFileError: a file that is missing, broken or hostile.
    """
    from nnw_onnx.inference import leave_if_importing_main
    from nnw_onnx.runs.gate import read_gate

    leave_if_importing_main()
    wanted = read_gate(
        Path(config),
        None if network is None else arguments.path_of(network),
        None if key is None else Path(key),
    )
    if providers:
        wanted = wanted.model_copy(update={"session": wanted.session.with_providers(providers)})
    arguments.settings_of(wanted.session.providers)
    under = _Under(wanted)
    return Gated(wanted.title, under.path.name, tuple(map(_made, under.asked())))


@dataclass(frozen=True)
class _Answer:
    """What was measured of one requirement; see `Check`."""

    passed: bool
    measured: str
    value: float | None = None
    limit: str = ""


@dataclass(frozen=True)
class _Asked:
    """A check that is still to be made."""

    rule: str
    name: str
    required: str
    measure: Callable[[], _Answer]


def _made(asked: _Asked) -> Check:
    """The check; what goes wrong while it is made is the reason why nothing was measured."""
    about = asked.rule, asked.name, asked.required
    try:
        answer = asked.measure()
    except NnwError as error:
        return Check(*about, str(error).replace("\n", "; "), "not measured")
    passed = outcome(answer.passed)
    return Check(*about, answer.measured, passed, answer.value, answer.limit)


class _Under:
    """A network under a gate."""

    def __init__(self, wanted: Gate) -> None:
        """Opens everything that the gate names, so that a broken file is told before any work."""
        from nnw_onnx.runs.gate import reference_of
        from nnw_onnx.runs.keys import load_key
        from nnw_onnx.runs.seals import load_seal

        self.wanted, self.path = wanted, Path(wanted.network or "")
        self.network = arguments.opened(self.path)
        place = reference_of(wanted)
        self.reference = None if place is None else arguments.opened(place)
        self._claim = None if wanted.key is None else load_key(wanted.key)
        self._seal = None if wanted.seal is None else load_seal(wanted.seal.file)

    def asked(self) -> Iterator[_Asked]:
        """Every check, the cheap ones first."""
        wanted = self.wanted
        if wanted.seal is not None and self._seal is not None:
            told = f"the root {wanted.seal.root}" if wanted.seal.root else "as it was sealed"
            yield _Asked("seal", "seal", told, partial(self._sealed, wanted.seal, self._seal))
        if self._claim is not None:
            yield from self._of_claim(self._claim)
        reference, evaluation = self.reference, wanted.evaluation
        if (need := wanted.quality) is not None and reference is not None and evaluation:
            measure = partial(self._lost, need, evaluation, reference.path)
            unit = f" {_unit_of(evaluation)}".rstrip()
            told = f"a loss of at most {need.loss:g}{unit}"
            yield _Asked("quality", "quality", told, measure)
        if self._claim is not None:
            yield from self._survivals(self._claim)

    def _of_claim(self, claim: Claim) -> Iterator[_Asked]:
        """What a key tells of the network as it is."""
        wanted, reference = self.wanted, self.reference
        if wanted.commitment is not None and reference is not None:
            measure = partial(_committed, claim, reference, wanted.commitment)
            told = f"{wanted.commitment.lower()} binds key and reference"
            yield _Asked("commitment", "commitment", told, measure)
        told = f"found at a false-positive rate of {wanted.false_positive_rate:g}"
        yield _Asked("mark", "mark", told, lambda: _detected(self._verdict))
        if (payload := wanted.payload) is not None:
            told = f"at least {payload.bits} bits, at most {payload.wrong} wrong"
            yield _Asked("payload", "payload", told, partial(self._payload, payload))
        if (others := wanted.false_positives) is not None:
            measure = partial(self._mistaken, others, claim)
            told = f"at most {others.most} found"
            yield _Asked("false-positives", "false positives", told, measure)

    @cached_property
    def _verdict(self) -> Verdict:
        """Of the network as it is; answers must depend on what is read."""
        return self._heard(self.network, run=True)

    def _heard(self, network: OnnxNetwork, *, run: bool = False) -> Verdict:
        if self._claim is None:
            raise ConfigurationError("key: expected one, got none; add key, or give --key")
        reference = self.reference if self.wanted.resynchronise else None
        return verify(
            network,
            self._claim,
            false_positive_rate=self.wanted.false_positive_rate,
            reference=reference,
            run=run,
            providers=self.wanted.session.providers,
        )

    def _sealed(self, need: SealNeed, sealed: Seal) -> _Answer:
        if need.root is not None and need.root.lower() != sealed.root:
            return _Answer(False, f"the seal has the root {sealed.root}")
        # A root that was published binds a seal without a key, whoever has made its file.
        keyed = sealed.code is not None or need.root is None
        found = verify_seal(self.network, sealed, key=self._claim if keyed else None)
        changes = f"{len(found.changes)} pieces are not as they were"
        return _Answer(bool(found), f"root {found.root}" if found else changes)

    def _payload(self, need: PayloadNeed) -> _Answer:
        verdict = self._verdict
        if verdict.decoding is None:
            reason = verdict.reason or "the method carries none"
            raise ConfigurationError(f"payload: expected one that can be read, got none: {reason}")
        wrong = verdict.errors if verdict.bits is None else verdict.bit_errors
        if wrong is None:
            raise ConfigurationError(
                "payload: expected one with the key to compare with, got none; keep it in the file"
            )
        bits = verdict.claim.key.carries
        passed = bits >= need.bits and wrong <= need.wrong
        return _Answer(passed, f"{bits} bits, {wrong} wrong", bits, "count")

    def _mistaken(self, need: FalsePositives, claim: Claim) -> _Answer:
        from nnw_onnx.runs.places import network_paths
        from nnw_onnx.runs.ranking import found_wrong
        from nnw_onnx.runs.suspect import isolated, suspects

        paths, rate = network_paths(need.networks), self.wanted.false_positive_rate
        settings = arguments.settings_of(self.wanted.session.providers)
        heard = suspects(self.network, isolated(self.network, settings=settings))
        keys = found_wrong(heard, claim, need.wrong_keys, rate) if need.wrong_keys else 0
        taken = [p.name for p in paths if _is_yes(self._heard(arguments.opened(p)))]
        told = [f"{keys} of {need.wrong_keys} wrong keys"] * bool(need.wrong_keys)
        told += [f"{len(taken)} of {len(paths)} unmarked networks"] * bool(paths)
        named = f": {', '.join(taken)}" if taken else ""
        total = keys + len(taken)
        return _Answer(total <= need.most, f"{' and '.join(told)}{named}", total, "count")

    def _lost(self, need: QualityNeed, evaluation: Evaluation, reference: Path) -> _Answer:
        from nnw_onnx.runs.beside import beside

        marks = [] if self._claim is None else [self._claim.key.method]
        return _of_loss(need, beside(evaluation, reference, self.path, marks))

    def _survivals(self, claim: Claim) -> Iterator[_Asked]:
        from nnw_onnx.runs.checks import intensities_of
        from nnw_onnx.runs.settings import labels_of

        tables = self.wanted.modifications
        for table, label in zip(tables, labels_of(tables), strict=True):
            for intensity in intensities_of(table):
                at = "" if intensity is None else f" at {_with_unit(table, intensity)}"
                measure = partial(self._survived, table, intensity, claim)
                yield _Asked("survival", f"survives {label}{at}", _share_wanted(table), measure)

    def _survived(self, table: SurviveTable, intensity: float | None, claim: Claim) -> _Answer:
        times = range(table.repetitions)
        found = sum(self._survives(table, intensity, claim, seed) for seed in times)
        value, limit, told = _counted(table, found)
        least = 1.0 if table.found is None else table.found
        return _Answer(value >= least - _ROUNDING, told, value, limit)

    def _survives(
        self, table: SurviveTable, intensity: float | None, claim: Claim, seed: int
    ) -> bool:
        from nnw_onnx.runs import calls, single
        from nnw_onnx.runs.gate import WITH_DATA
        from nnw_onnx.runs.plan import trial_steps

        steps = trial_steps(table, intensity)
        needs = {need for _, made in steps for need in calls.needs(made)}
        evaluation = self.wanted.evaluation
        how = single.How(evaluation) if evaluation is not None and needs & WITH_DATA else None
        done = single.modify(
            self.network, [step for step, _ in steps], seed, how, carrier=claim.key.layers
        )
        return _is_yes(self._heard(done.network))


def _committed(claim: Claim, reference: OnnxNetwork, published: str) -> _Answer:
    found = verify_commitment(claim, reference, published=published)
    return _Answer(bool(found), "it binds them" if found else found.reason or "it does not")


def _detected(verdict: Verdict) -> _Answer:
    """What the Detector says, in one line."""
    from nnw_onnx.vocabulary.evidence import power

    found = verdict.detection
    if found is None:
        raise ConfigurationError(
            "payload: expected one with the key, got none; keep it in the key file"
        )
    if verdict.status != "done":
        return _Answer(False, verdict.reason or "the carrier is not in the network")
    size = found.null.symbols
    what = f"{found.statistic:g} of {size}" if size else f"statistic {found.statistic:g}"
    unknown = f"no null is known: {found.null.name}"
    sure = unknown if found.log10_p is None else f"p = {power(found.log10_p)}"
    return _Answer(bool(found), f"{what} as the key says, {sure}")


def _unit_of(evaluation: Evaluation) -> str:
    from nnw_onnx import plugins
    from nnw_onnx.vocabulary import Task

    measure = plugins.create(Task, evaluation.task.spec).measured()[0]
    return f"{'points' if measure.unit == '%' else measure.unit} of {measure.name}".strip()


def _of_loss(need: QualityNeed, found: Beside) -> _Answer:
    """The loss, by its upper limit unless the gate says otherwise."""
    mean, high, by_mean = found.loss.value, found.loss.high, need.limit == "mean"
    if mean is None or (high is None and not by_mean):
        raise ConfigurationError(
            f"quality: expected limits of the loss, got none: {found.loss.reason}; set limit = "
            '"mean" to compare what was measured'
        )
    factor = 100.0 if found.measure.unit == "%" else 1.0
    value = factor * (mean if by_mean or high is None else high)
    which = "mean" if by_mean else f"upper of the 90 % limits; mean {factor * mean:.3g}"
    told = (
        f"{value:.3g} ({which}); {factor * found.before:.4g} before and "
        f"{factor * found.after:.4g} after, {found.samples:,} samples"
    )
    return _Answer(value <= need.loss + _ROUNDING, told, value, "mean" if by_mean else "high")


def _counted(table: SurviveTable, found: int) -> tuple[float, str, str]:
    """The share that is compared, which one it is, and all of it in words."""
    from nnw_onnx.math.statistics import lowest_share

    told = f"found in {found} of {table.repetitions}"
    share = found / table.repetitions
    if table.found is None or table.limit == "mean":
        return share, "count" if table.found is None else "mean", told
    low = lowest_share(found, table.repetitions)
    return low, "low", f"{told}: at least {100 * low:.1f} % (one-sided 95 % limit)"


def _share_wanted(table: SurviveTable) -> str:
    if table.found is None:
        return "found" if table.repetitions == 1 else f"found in all {table.repetitions}"
    by: Mapping[str, str] = {"conservative": "its one-sided 95 % limit", "mean": "as counted"}
    return f"found in at least {100 * table.found:g} %, {by[table.limit]}"


def _with_unit(table: SurviveTable, intensity: float) -> str:
    from nnw_onnx.runs.checks import made_step

    step = next(s for s in table.stack if s.intensities)
    parameter = made_step(step, intensity).parameter
    return f"{intensity:g}" if parameter is None else parameter.with_unit(intensity)


def _is_yes(verdict: Verdict) -> bool:
    return verdict.detection is not None and verdict.detection.detected is True
