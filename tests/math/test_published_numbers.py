"""Numbers of papers and of other tools, against our arithmetic; each with its source."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from nnw_onnx.math import binomial, clusters, quantizing, statistics, tracing


def test_the_threshold_of_deepsigns_for_its_black_box_keys():
    """Bitadr/DeepSigns, main_blackbox.py: 20 inputs, 10 classes, p = 1e-4.

    It accepts fewer than 12 mismatches, that is 9 hits or more.
    """
    hits = binomial.threshold(20, 1e-4, Fraction(1, 10))
    assert (hits, 20 - hits + 1) == (9, 12)
    size = binomial.tail(hits, 20, Fraction(1, 10)).p_value
    assert size == pytest.approx(5.985853174e-05, rel=1e-9)


# SAP ml-model-watermarking, verification.py, threshold_classifier at an error rate of 1e-3:
# triggers, labels, the share of right answers from which on a network counts as stolen.
SAP = [(50, 10, 0.28), (100, 10, 0.2), (100, 2, 0.65), (100, 100, 0.05)]


@pytest.mark.parametrize(("triggers", "labels", "share"), SAP)
def test_the_thresholds_of_sap(triggers, labels, share):
    """The most hits k with P(> k) <= 1e-3 where ours are the fewest with P(>= k) <= 1e-3.

    So it accepts one hit fewer than we do, above its declared rate, but for 50 triggers of 10
    labels, where its sums of floats end one step later.
    """
    chance, accepted = Fraction(1, labels), round(share * triggers)
    ours = binomial.threshold(triggers, 1e-3, chance)
    assert ours - accepted == (0 if triggers == 50 else 1)
    assert (binomial.tail(accepted, triggers, chance).p_value > 1e-3) == (triggers != 50)
    assert binomial.tail(accepted + 1, triggers, chance).p_value <= 1e-3


# Clopper and Pearson, Biometrika 26, 1934, at 95 %, as scipy's beta distribution has them.
NEVER = {1: 0.975, 5: 0.521824, 10: 0.308497, 15: 0.218019, 20: 0.168433, 25: 0.137185,
         30: 0.115703, 50: 0.0711217, 100: 0.0362167, 300: 0.012221, 1000: 0.00368208}  # fmt: skip
SOME = [
    (1, 5, 0.00505076, 0.716418),
    (1, 10, 0.00252858, 0.445016),
    (2, 20, 0.0123485, 0.316983),
    (5, 10, 0.187086, 0.812914),
    (3, 64, 0.00977307, 0.130936),
    (13, 64, 0.112829, 0.322264),
    (8, 256, 0.0135862, 0.0606441),
]


@pytest.mark.parametrize("n", NEVER)
def test_clopper_pearson_of_an_event_never_seen(n):
    assert statistics.least_half_width(n) == pytest.approx(NEVER[n], rel=1e-5)


@pytest.mark.parametrize(("events", "n", "low", "high"), SOME)
def test_limits_over_very_many_networks_are_clopper_pearsons(events, n, low, high):
    """No variance between networks to speak of, and n trials: what is left is the exact limit."""
    means = np.full(1_000_000, events / n)
    means[::2] += 1e-6
    means[1::2] -= 1e-6
    assert clusters.cluster_limits(means, trials=n) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize(
    ("tests", "level"),
    [
        (10, 1.0000004500002851e-07),
        (100, 1.0000004950003283e-08),
        (1000, 1.0000004995003329e-09),
        (1_000_000, 1.0000004999998333e-12),
    ],
)
def test_the_level_of_one_of_many_tests(tests, level):
    """Sidak, J. Am. Stat. Assoc. 62, 1967: 1 - (1 - 1e-6)^(1/N)."""
    assert tracing.each_of(1e-6, tests) == pytest.approx(level, rel=1e-12)


@pytest.mark.parametrize(
    ("chunks", "bits", "wrong", "users", "p_value"),
    [
        (8, 4, 0, 1, 2.3283064365386963e-10),
        (8, 4, 2, 100, 0.00014948949337435053),
        (16, 8, 4, 1000, 2.2642106272791736e-23),
        (32, 4, 8, 1, 8.094106554252899e-23),
    ],
)
def test_p_values_of_functional_invariants(chunks, bits, wrong, users, p_value):
    """Fernandez et al., arXiv 2310.11446: 1 - (1 - I_{2^-k}(m - s, s + 1))^N.

    A chunk of k bits is right by chance 2^-k: ours is a count of Symbols of an alphabet of 2^k.
    """
    one = binomial.tail(chunks - wrong, chunks, Fraction(1, 2**bits))
    found = 10 ** tracing.log10_sidak(one.log10_p, users)
    assert found == pytest.approx(p_value, rel=1e-6)


# Root mean square error of the quantiser of NNWTestbed (Attacks/quantization.py) on 512x512x3x3
# weights of N(0, 0.02^2), over their deviation: mean and deviation over ten seeds. Of 24 and 32
# bits the step / sqrt(12), since the testbed's own float32 is worse than that, and ours is float64.
RMS = {
    32: (6.841e-10, 2.6e-11), 24: (1.751e-7, 6.7e-9), 16: (4.483e-5, 1.7e-6),
    12: (7.175e-4, 2.8e-5), 10: (2.872e-3, 1.1e-4), 8: (0.01152, 4.4e-4), 7: (0.02313, 8.9e-4),
    6: (0.04665, 1.8e-3), 5: (0.09478, 3.7e-3), 4: (0.1959, 7.5e-3), 3: (0.4198, 0.016),
    2: (1.076, 0.056),
}  # fmt: skip
# The same of one draw by PyTorch, whose range was 9.7 deviations: 10 %.
OF_TORCH = {16: 4.3e-5, 12: 6.8e-4, 8: 0.011, 6: 0.044, 4: 0.187, 3: 0.4, 2: 1.01}


def relative_rms(weights, bits) -> float:
    error = quantizing.min_max(weights.astype(np.float64), bits) - weights
    return float(np.sqrt(np.mean(error**2)) / weights.std(dtype=np.float64))


@pytest.fixture(scope="module")
def weights():
    rng = np.random.Generator(np.random.PCG64(0))
    return rng.standard_normal((512, 512, 3, 3), dtype=np.float32) * np.float32(0.02)


@pytest.mark.parametrize("bits", RMS)
def test_error_of_the_quantiser_at_every_number_of_bits(weights, bits):
    mean, deviation = RMS[bits]
    found = relative_rms(weights, bits)
    assert abs(found - mean) <= 4 * deviation
    if bits in OF_TORCH:
        assert found == pytest.approx(OF_TORCH[bits], rel=0.1)
    if bits >= 3:
        step = float(np.ptp(weights)) / weights.std(dtype=np.float64) / (2**bits - 1)
        assert found == pytest.approx(step / math.sqrt(12), rel=0.01 if bits > 3 else 0.03)


def test_error_of_the_quantiser_beside_that_of_the_robustness_toolbox():
    """Watermark-Robustness-Toolbox, weight_quantization.py, maps to the midpoints of 2^B - 1 bins.

    On the same N(0, 1) weights, numpy's default_rng(3). At two bits the two differ: 0.9025 there.
    """
    drawn = np.random.default_rng(3).standard_normal(512 * 512 * 9)
    min_max = {2: 1.2063, 3: 0.4566, 4: 0.2129, 5: 0.1030, 6: 0.0507, 8: 0.01253}
    found = {bits: relative_rms(drawn, bits) for bits in min_max}
    assert found == pytest.approx(min_max, rel=1e-3)
    toolbox = {3: 0.4560, 4: 0.2129, 5: 0.1030, 6: 0.0507, 8: 0.01252}
    assert {bits: found[bits] for bits in toolbox} == pytest.approx(toolbox, rel=0.03)
