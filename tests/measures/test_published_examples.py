"""Worked examples of the standard's ratios and of its rule of ten entries."""

from __future__ import annotations

import pytest

from nnw_onnx.measures import limits
from nnw_onnx.measures.decisions import judge_of
from nnw_onnx.measures.robustness import Where, point
from nnw_onnx.measures.run import Run

from .made import (
    make_dataset,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_verdict,
)

NETWORKS, PAYLOADS = 5, 4
AT = {"setting": 0, "intensity": 0.1}


def point_of(errors, plain, symbols):
    """The point of M = 5 networks and D = 4 payloads, each test with so many errors."""
    record = make_technology(bits=symbols)
    marks = [make_injection(n, d) for n in range(NETWORKS) for d in range(PAYLOADS)]
    trials = [make_trial(m.network, m, make_verdict(m, errors, symbols), **AT) for m in marks]
    for n in range(NETWORKS):
        own = [make_verdict(m, plain, symbols) for m in marks if m.network == n]
        trials.append(make_trial(n, None, *own, **AT))
    settings = [make_setting(intensities=(0.1,))]
    plan = make_plan(NETWORKS, PAYLOADS, [record], settings)
    run = Run(plan, tuple(marks), tuple(trials))
    return point(run, record, judge_of(run, record), Where(0, 0, 0.1))


def test_the_ratios_of_the_standard_are_never_one():
    """NNW-NNT V1.1, Robustness: over M (D + 1) networks, FP <= M and FN <= M D."""
    worst = point_of(errors=32, plain=0, symbols=64)
    assert (worst.fp_ratio.value, worst.fn_ratio.value) == (0.2, 0.8)
    assert (worst.false_alarm_rate.value, worst.missed_rate.value) == (1.0, 1.0)


def test_the_symbol_error_rate_over_all_networks():
    """0.02 of 20 watermarked and 0.5 of 5 unwatermarked networks: (0.4 + 2.5) / 25."""
    found = point_of(errors=1, plain=25, symbols=50)
    assert (found.ser.value, found.ser_unwatermarked.value) == (0.02, 0.5)
    assert found.ser_all.value == pytest.approx(0.116, abs=1e-12)


@pytest.mark.parametrize(
    ("parameters", "samples", "scalars"),
    [(14_719_818, 0.00339678, 10.4349), (14_965_578, 0.00334100, 10.2636)],
)
def test_cifar10_has_ten_scalars_for_each_parameter_of_vgg16(parameters, samples, scalars):
    """NNW-NNT V1.1 asks for ten entries a Weight, which 50,000 images of 3 x 32 x 32 hold.

    VGG16 with one layer of 512 x 10 behind its convolutions, and with one of 25,088 x 10. Counted
    as samples they are far too few, and the rule as a whole is not met.
    """
    plan = make_plan(dataset=make_dataset(50_000, (3, 32, 32)))
    network = plan.networks[0].model_copy(update={"weights": parameters})
    (size,) = limits.dataset_sizes(plan.model_copy(update={"networks": (network,)}))
    assert size.samples_per_weight.value == pytest.approx(samples, rel=1e-5)
    assert size.scalars_per_weight.value == pytest.approx(scalars, rel=1e-5)
    assert size.enough is False
