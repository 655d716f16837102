"""Warnings: each of them where it applies, and nowhere else."""

from __future__ import annotations

import pytest

from nnw_onnx.records import ControlRecord, CostRecord, LeftOutRecord, NewMark
from nnw_onnx.reports.build import build_report

from ..measures.made import (  # noqa: TID252 - shared by two rooms' tests
    Made,
    answers,
    make_dataset,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_twin,
    make_verdict,
)

SETTING = make_setting(intensities=(0.1,), adaptive=(0, 1))
"""What the methods name as the attack of somebody who knows them."""
AT = {"setting": 0, "intensity": 0.1}


def clean(networks=10, technology=None, **plan) -> Made:
    """A run of which there is nothing to warn."""
    given = {"settings": [SETTING], "dataset": make_dataset(20_000)}
    made = make_plan(networks, 1, [technology or make_technology()], **given | plan)
    marks = [make_injection(n, 0) for n in range(networks)]
    trials = []
    for place in ({}, AT):
        for m in marks:
            n = m.network
            plain = make_verdict(m, 32)
            trials.append(make_trial(n, None, plain, right=answers(2000, 20), **place))
            trials.append(make_trial(n, m, make_verdict(m), right=answers(2000, 20), **place))
    return Made(made, tuple(marks), tuple(trials))


def codes(made: Made):
    return {n.code: n for n in build_report(*made.parts).notices}


def changed(made: Made, of, **fields) -> Made:
    """The run with other fields of the trials that `of` chooses."""
    return made.but(trials=tuple(t.model_copy(update=fields) if of(t) else t for t in made.trials))


def modified(t):
    return t.setting == 0 and t.injection is not None


def test_a_clean_run_has_no_warning():
    assert codes(clean()) == {}


@pytest.mark.parametrize("lost", [1, 10])
def test_marks_that_are_not_found_before_any_modification_are_told(lost):
    """One of ten leaves the rest to be attacked; ten of ten leave nothing that could be lost."""
    made = clean()
    trials = tuple(
        t.model_copy(update={"verdicts": (make_verdict(made.injections[t.network], 30),)})
        if t.injection is not None and t.network < lost
        else t
        for t in made.trials
    )
    found = build_report(*made.but(trials=trials).parts)
    (notice,) = (n for n in found.notices if n.code == "not-in")
    assert notice.details == (f"{found.technologies[0].label}: in {10 - lost} of 10",)
    statuses = {p.status for p in found.points}
    assert statuses == ({"void"} if lost == 10 else {"lost"})
    assert "void-overwriting" not in {n.code for n in found.notices}


def test_false_alarms_name_network_and_setting():
    made = clean()
    alarm = (make_verdict(made.injections[3], 0),)
    made = changed(
        made, lambda t: t.network == 3 and t.injection is None and t.setting == 0, verdicts=alarm
    )
    found = codes(made)["false-alarm"]
    assert found.details == ("uchida, 64 bits, gaussian-noise 0.1: networks 3",)


@pytest.mark.parametrize(
    ("field", "where"),
    [("controls", "bits: "), ("controls_resynchronised", "bits, re-synchronised: ")],
)
def test_wrong_keys_found_too_often(field, where):
    control = ControlRecord(
        technology=0, keys=1000, detected=0, below=(160, 10, 1, 0), log10_least=-3.5
    )
    made = changed(
        clean(),
        lambda t: t.injection is None and t.setting == 0 and t.network == 0,
        **{field: (control,)},
    )
    (line,) = codes(made)["wrong-keys"].details
    assert f"{where}160 of 1000 wrong keys have p <= 0.1" in line


def test_an_incomplete_run_and_what_has_no_record():
    made = clean()
    found = codes(made.but(trials=tuple(t for t in made.trials if t.setting is None)))
    assert found["incomplete"].details == ("no record: gaussian-noise 0.1",)
    assert "0 of 10 tests" in found["incomplete"].text


def test_quality_at_chance():
    made = changed(
        clean(), lambda t: t.injection is None and t.network == 2, quality={"top-1 accuracy": 0.1}
    )
    assert codes(made)["chance-level"].details[0].startswith("top-1 accuracy 0.1, guessing")


def test_a_payload_that_is_not_read_back():
    made = clean()
    wrong = (make_verdict(made.injections[0], 4),)
    made = changed(made, lambda t: t.setting is None and t.injection == "i-0-0-0", verdicts=wrong)
    assert codes(made)["round-trip"].details == ("uchida, 64 bits: Symbol Error Rate 0.62%",)


def test_a_void_overwriting():
    made = changed(clean(), modified, new_marks=(NewMark(symbols=64, errors=32),))
    assert "void-overwriting" in codes(made)


def test_missing_twins():
    technology = make_technology(training={"epochs": 1}, imperceptibility="NNW-WTI")
    made = clean(technology=technology)
    twins = tuple(make_twin(n) for n in range(9))
    found = codes(made.but(injections=(*made.injections, *twins)))
    assert found["no-twin"].details == ("uchida, 64 bits: 9 of 10",)


def test_a_payload_too_short_to_be_detected():
    made = clean()
    trials = tuple(
        t.model_copy(
            update={
                "verdicts": tuple(
                    make_verdict(m, 0, 16) for m in made.injections if m.network == t.network
                )
            }
        )
        for t in made.trials
        if t.injection is not None
    )
    assert "p = 1.5e-05 at best" in codes(made.but(trials=trials))["never-detected"].details[0]


def test_calibrated_detectors():
    made = clean()
    bare = {"log10_p": None, "detected": None, "null": None}
    trials = tuple(
        t.model_copy(update={"verdicts": tuple(v.model_copy(update=bare) for v in t.verdicts)})
        for t in made.trials
    )
    report = build_report(*made.but(trials=trials).parts)
    assert report.technologies[0].alarms is None
    (line,) = next(n for n in report.notices if n.code == "calibrated").details
    assert "1/21 is the smallest p-value" in line


def test_what_was_not_done_is_counted_by_reason():
    nothing = {"verdicts": (), "quality": {}, "scores": None}
    made = changed(clean(), modified, status="failed", reason="boom", **nothing)
    assert codes(made)["not-done"].details == ("10 × failed: boom",)


@pytest.mark.parametrize(
    ("networks", "words"),
    [(5, "holds for the 5 networks tested"), (6, "Rates have no limits"), (9, "Rates have no")],
)
def test_few_networks(networks, words):
    assert words in codes(clean(networks))["few-networks"].text


def test_undecided_usability():
    made = clean()
    worse = make_trial(0, right=answers(2000, 118))
    fields = {"quality": worse.quality, "scores": worse.scores}
    made = changed(made, lambda t: t.setting == 0 and t.injection is None, **fields)
    (line,) = codes(made)["usability"].details
    assert line.startswith("gaussian-noise 0.1: the limits of the loss")


def test_a_setting_that_leaves_the_networks_of_one_technology_undecided():
    records = [make_technology(t, label=f"t{t}") for t in range(2)]
    plan = make_plan(6, 1, records, [SETTING])
    marks = [make_injection(n, 0, t) for n in range(6) for t in range(2)]
    trials = [make_trial(n, None, right=answers(2000)) for n in range(6)]
    trials += [
        make_trial(
            m.network, None, make_verdict(m, 32),
            right=answers(2000, 100 if m.technology else 0), technology=m.technology, **AT,
        )
        for m in marks
    ]  # fmt: skip
    found = codes(Made(plan, tuple(marks), tuple(trials)))
    (line,) = found["usability"].details
    assert line.startswith("gaussian-noise 0.1: t1, the limits of the loss")


def test_who_is_not_attacked_by_somebody_who_knows_the_method_is_told():
    plain = clean(settings=[make_setting(intensities=(0.1,))])
    assert codes(plain)["not-attacked"].details == ("uchida, 64 bits",)
    # What was planned and never answered is no attack.
    silent = changed(clean(), modified, verdicts=(), status="failed", reason="no memory")
    assert "not-attacked" in codes(silent)
    assert "not-attacked" not in codes(clean(settings=()))


def test_what_is_left_out_of_presets_is_told():
    gone = LeftOutRecord(preset="mpai-nnt", label="Fine-tuning", reason="no table [training]")
    found = codes(clean(left_out=(gone,)))["left-out"]
    assert found.details == ("mpai-nnt, Fine-tuning: no table [training]",)


def test_inverted_watermarks():
    made = clean()
    trials = tuple(
        t.model_copy(
            update={
                "verdicts": (make_verdict(made.injections[t.network], 64, log10_inverted=-19.0),)
            }
        )
        if modified(t)
        else t
        for t in made.trials
    )
    assert "inverted: 10." in codes(made.but(trials=trials))["inverted"].text


def test_carriers_that_are_gone():
    made = clean()
    trials = tuple(
        t.model_copy(
            update={
                "verdicts": (make_verdict(made.injections[t.network], status="not-applicable"),)
            }
        )
        if modified(t)
        else t
        for t in made.trials
    )
    (line,) = codes(made.but(trials=trials))["no-carrier"].details
    assert line.endswith("10 of 10 tests")


def test_another_data_set():
    made = changed(clean(), lambda t: t.setting == 0, quality_of="letters")
    assert codes(made)["other-data-set"].details == ("gaussian-noise 0.1: letters",)


def test_nodes_on_the_cpu():
    facts = {"nodes on the CPU": "2 of 9: Sin x 2"}
    made = changed(clean(), lambda t: t.network == 0, facts=facts)
    assert codes(made)["on-the-cpu"].details == ("4 trials: nodes 2 of 9: Sin x 2",)


def test_two_kinds_of_sessions():
    made = changed(clean(), lambda t: t.network > 3, facts={"weights of the session": "inputs"})
    assert "two-ways" not in codes(made)
    made = changed(made, lambda t: t.network < 1, facts={"weights of the session": "constants"})
    assert codes(made)["two-ways"].details == (
        "4 trials: weights are constants", "24 trials: weights are inputs"
    )  # fmt: skip


def test_undecided_symbols():
    made = clean()
    tied = (make_verdict(made.injections[0], 0, ties=5),)
    made = changed(made, lambda t: t.injection == "i-0-0-0" and t.setting == 0, verdicts=tied)
    assert codes(made)["ties"].text.startswith("5 Symbols in 1 decodings")


def test_intensities_outside_the_range_of_the_standard():
    setting = make_setting(intensities=(0.1,), number=0)
    made = changed(clean(settings=[setting]), lambda t: t.setting == 0, outside_standard_range=True)
    found = codes(made)["outside-standard-range"]
    assert found.name == "1 setting outside the standard's range"
    assert found.details == ("gaussian-noise 0.1",)


def test_what_does_not_apply_is_no_failure():
    made = changed(
        clean(), lambda t: t.setting == 0, status="not-applicable", reason="nothing to fold"
    )
    found = codes(made)
    assert "not-done" not in found
    assert found["not-applicable"].details == ("20 × nothing to fold",)
    assert "usability" not in found


def costs(*sessions):
    return tuple(
        CostRecord(
            identity=f"c-{s}-{n}",
            status="done",
            operation="detection",
            network=n,
            technology=0,
            payload_index=0,
            session=s,
            seconds=seconds,
            load=0.5 + s,
        )
        for s, seconds in enumerate(sessions)
        for n in range(5)
    )


def test_times_that_differ_from_session_to_session():
    found = codes(clean().but(costs=costs(6.66e-3, 53.2e-3)))["unstable"]
    assert found.details == ("uchida, 64 bits: 8 ×, load average 0.5 to 1.5",)
    assert "unstable" not in codes(clean().but(costs=costs(6.66e-3, 7e-3)))
    assert "unstable" not in codes(clean().but(costs=costs(6.66e-3)))


def test_weights_that_all_layers_do_not_reach():
    made = clean()
    networks = tuple(
        n.model_copy(update={"stored": 1000, "left": {"embedding": 590, "bias": 10}})
        for n in made.plan.networks
    )
    made = made.but(plan=made.plan.model_copy(update={"networks": networks}))
    found = codes(made)["reach"]
    assert found.details[0] == "0.onnx: 40.0 % of 1,000; left: embedding 59.0 % and bias 1.0 %"


def test_a_data_set_that_is_too_small():
    found = codes(clean(dataset=make_dataset(400)))["dataset-size"]
    assert found.details[0] == "0.onnx: 0.4 samples, 25.6 scalars for each of 1,000 Weights"
