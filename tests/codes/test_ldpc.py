"""Parity checks: the graph, maximum likelihood by brute force, peeling, thresholds, a library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from nnw_onnx import plugins
from nnw_onnx.codes import ldpc
from nnw_onnx.codes.ldpc import Ldpc
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.testing import check_code
from nnw_onnx.vocabulary import Code, Payload, Spec

CODES = [Ldpc(), Ldpc(row=4), Ldpc(row=12), Ldpc(iterations=1)]
CHECKS = [check for code in CODES[:3] for check in check_code(code)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.name)
def test_common_check(check):
    check()


def random(size, seed=0):
    return Payload.random(size, np.random.Generator(np.random.Philox(seed)))


def matrix(graph):
    """The parity-check matrix (m, n)."""
    found = np.zeros((len(graph.rows), graph.bits + 1), int)
    for row, places in zip(found, graph.rows, strict=True):
        row[places] = 1
    return found[:, :-1]


def most_shared(checks):
    """Most checks that two bits share."""
    shared = checks.T.astype(float) @ checks
    np.fill_diagonal(shared, 0)
    return shared.max()


def word(graph, sent):
    """A whole word (n,) from what is sent of it."""
    found = np.zeros(graph.bits, np.int64)
    found[graph.payload[: len(sent) - len(graph.parity)]] = sent[: -len(graph.parity)]
    found[graph.parity] = sent[-len(graph.parity) :]
    return found


def heard(code, payload, deviation, rng):
    """Bits and confidence of a word sent as +1 and -1 through Gaussian noise."""
    sent = 2 * code.encode(payload).array() - 1
    signal = sent + deviation * rng.standard_normal(len(sent))
    return Payload(tuple((signal > 0).astype(int).tolist())), tuple(np.abs(signal).tolist())


def success(code, size, deviation, words, seed=0):
    rng = np.random.Generator(np.random.Philox(seed))
    right = 0
    for number in range(words):
        payload = random(size, number)
        right += code.decode(*heard(code, payload, deviation, rng), size) == payload
    return right / words


# --- graph


@pytest.mark.parametrize(
    ("payload", "row", "rate"), [(8, 4, 4), (32, 6, 2), (77, 6, 2), (512, 6, 2), (192, 12, 4 / 3)]
)
def test_three_checks_a_bit_and_no_cycle_of_four(payload, row, rate):
    """Two bits share one check at most: the girth is 6 or more."""
    graph = ldpc.graph_of(payload, row)
    checks = matrix(graph)
    assert graph.bits == round(rate * payload)
    assert (checks.sum(axis=0) == 3).all()
    weights = checks.sum(axis=1)
    assert weights.sum() == 3 * graph.bits
    assert np.abs(weights - row).max() <= 2
    assert (np.abs(weights - row) > 0).mean() < 0.3
    assert most_shared(checks) == 1


def test_every_shortest_graph_is_without_cycles_of_four():
    for row, fewest in ((4, 8), (6, 32), (12, 192)):
        for payload in range(fewest, fewest + 12):
            checks = matrix(ldpc.graph_of(payload, row))
            assert most_shared(checks) == 1


@pytest.mark.parametrize(("row", "size"), [(4, 1), (6, 20), (6, 64), (12, 300), (6, 1000)])
def test_what_is_sent_meets_every_check_and_begins_with_the_payload(row, size):
    code, payload = Ldpc(row=row), random(size)
    sent = code.encode(payload).symbols
    assert sent[:size] == payload.symbols
    graph = code._graph([size])
    assert not (matrix(graph) @ word(graph, sent) % 2).any()


@pytest.mark.parametrize(
    ("row", "size", "length"),
    [(6, 64, 128), (6, 512, 1024), (6, 8, 40), (6, 1024, 2048), (6, 1025, 1025 + 2 * 513),
     (4, 64, 256), (12, 300, 400)],
)  # fmt: skip
def test_lengths(row, size, length):
    """Rate 1/4, 1/2, 3/4; short payloads keep all check bits, and long ones take several words."""
    assert Ldpc(row=row).length(size) == length


def test_checks_that_depend_on_each_other_leave_bits_unused(monkeypatch):
    """Two equal checks: the rank is one less, and that bit stays zero and is not sent."""
    alone = [[check for check in its if check != 31] for its in ldpc.grown(64, 32)]
    doubled = [[*its, 31] if 30 in its else its for its in alone]
    monkeypatch.setattr(ldpc, "grown", lambda bits, checks: doubled)
    monkeypatch.setattr(ldpc, "graph_of", ldpc.graph_of.__wrapped__)
    graph = ldpc.graph_of(32, 6)
    assert (len(graph.payload), len(graph.parity), len(graph.unused)) == (32, 31, 1)
    assert np.linalg.matrix_rank(matrix(graph)) == 31
    payload, code = random(32), Ldpc()
    sent = code.encode(payload)
    assert len(sent) == code.length(32) == 63
    assert not (matrix(graph) @ word(graph, sent.symbols) % 2).any()
    read = sent.array()
    read[5] ^= 1
    assert code.decode(Payload(tuple(read.tolist())), (1.0,) * 63, 32) == payload


def test_a_dependent_check_is_left_out():
    pivots, solved = ldpc._solved([0b0111, 0b1110, 0b1001], 4)
    assert (pivots, solved) == ([3, 2], [0b0001, 0b0011])


# --- decoder against brute force


def test_it_is_nearly_maximum_likelihood():
    """All 2^10 words of a short code: nothing likelier than the answer in nearly all cases."""
    code, size, rng = Ldpc(), 10, np.random.Generator(np.random.Philox(4))
    book = np.array([
        code.encode(Payload(bits)).symbols for bits in itertools.product((0, 1), repeat=size)
    ])  # fmt: skip
    same = given_up = 0
    for number in range(150):
        payload = random(size, number)
        read, sure = heard(code, payload, 0.85, rng)
        soft = (2 * read.array() - 1) * np.array(sure)
        best = book[np.argmax((2 * book - 1) @ soft)]
        found = code.decode(read, sure, size)
        given_up += found is None
        if found is not None:
            same += found.symbols == tuple(best[:size].tolist())
    assert same >= 140
    assert same + given_up >= 148


def peeled(checks, erased):
    """Whether erased bits follow one after another from checks that miss only one of them."""
    missing = erased.copy()
    while True:
        counts = checks @ missing
        ready = np.flatnonzero(counts == 1)
        if not len(ready):
            return not missing.any()
        missing[np.flatnonzero(checks[ready[0]] & missing)] = 0


@pytest.mark.parametrize("share", [0.3, 0.4, 0.44])
def test_erasures_are_filled_where_peeling_fills_them(share):
    """Of bits without any confidence, messages recover exactly what peeling does."""
    code, size = Ldpc(iterations=200), 128
    graph = code._graph([size])
    checks, outcomes = matrix(graph), set()
    for seed in range(25):
        rng = np.random.Generator(np.random.Philox(seed))
        payload, lost = random(size, seed), rng.uniform(size=2 * size) < share
        read = np.where(lost, rng.integers(0, 2, 2 * size), code.encode(payload).array())
        sure = tuple(np.where(lost, 0.0, 1.0).tolist())
        wanted = payload if peeled(checks, word(graph, lost.astype(int))) else None
        assert code.decode(Payload(tuple(read.tolist())), sure, size) == wanted
        outcomes.add(wanted is None)
    assert outcomes == {0.3: {False}, 0.4: {False, True}, 0.44: {False, True}}[share]


# --- published behaviour


def test_thresholds_of_three_and_six():
    """Richardson and Urbanke 2001: sigma* = .88 for Gaussian noise, .4294 for erasures (Luby)."""
    code, size = Ldpc(iterations=200), 1024
    assert success(code, size, 0.78, 12) == 1
    assert success(code, size, 0.93, 12) == 0
    for share, wanted in ((0.38, True), (0.47, False)):
        for seed in range(5):
            rng = np.random.Generator(np.random.Philox(seed))
            payload = random(size, seed)
            sure = tuple((rng.uniform(size=2 * size) >= share).astype(float).tolist())
            assert (code.decode(code.encode(payload), sure, size) is not None) is wanted


@pytest.mark.parametrize(("errors", "rate"), [(0.106, 0.98), (0.120, 0.65)])
def test_soft_words_are_read_as_often_as_by_the_library_ldpc(errors, rate):
    """Package ldpc 2.4.1, belief propagation, (3,6), n 1,024, 50 iterations: its success rates."""
    found = success(Ldpc(), 512, 1 / stats.norm.isf(errors), 60)
    assert found == pytest.approx(rate, abs=0.02 + 4 * np.sqrt(rate * (1 - rate) / 60))


@pytest.mark.parametrize(
    ("errors", "rate"), [(0.04, 1.0), (0.06, 0.99), (0.07, 0.86), (0.08, 0.54)]
)
def test_hard_words_too(errors, rate):
    code, size, right = Ldpc(), 512, 0
    for seed in range(60):
        rng = np.random.Generator(np.random.Philox(seed))
        payload = random(size, seed)
        read = code.encode(payload).array() ^ (rng.uniform(size=2 * size) < errors)
        found = code.decode(Payload(tuple(read.tolist())), (1.0,) * len(read), size)
        right += found == payload
    assert right / 60 == pytest.approx(rate, abs=0.05 + 4 * np.sqrt(rate * (1 - rate) / 60))


def test_confidence_is_worth_more_than_two_decibels():
    """At 12 % wrong bits a hard decoder reads nothing: its threshold is 8.4 % (Richardson)."""
    code, size = Ldpc(), 512
    rng, deviation = np.random.Generator(np.random.Philox(9)), 1 / stats.norm.isf(0.12)
    for seed in range(10):
        read, _ = heard(code, random(size, seed), deviation, rng)
        assert code.decode(read, (1.0,) * 1024, size) is None


def test_it_agrees_word_for_word_with_the_library_ldpc():
    library = pytest.importorskip("ldpc")
    code, size = Ldpc(), 256
    graph = code._graph([size])
    checks, same = matrix(graph), 0
    for seed in range(40):
        rng = np.random.Generator(np.random.Philox(seed))
        read, sure = heard(code, random(size, seed), 0.84, rng)
        hard = word(graph, read.array()).astype(np.uint8)
        chances = 1 / (1 + np.exp(np.clip(2 * word_of(graph, sure) / 0.84**2, 1e-9, 30)))
        theirs = library.BpDecoder(
            checks.astype(np.uint8), error_channel=list(chances), max_iter=60, schedule="parallel",
            bp_method="minimum_sum", ms_scaling_factor=0.8,
        )  # fmt: skip
        corrected = hard ^ theirs.decode((checks @ hard % 2).astype(np.uint8))
        expected = tuple(corrected[graph.payload].tolist()) if theirs.converge else None
        found = code.decode(read, sure, size)
        same += expected == (None if found is None else found.symbols)
    assert same >= 39


def word_of(graph, sure):
    found = np.zeros(graph.bits)
    found[graph.payload], found[graph.parity] = (
        sure[: len(graph.payload)],
        sure[len(graph.payload) :],
    )
    return found


# --- edges


def test_only_proportions_of_confidence_count():
    code, size, rng = Ldpc(), 128, np.random.Generator(np.random.Philox(2))
    for seed in range(10):
        read, sure = heard(code, random(size, seed), 0.8, rng)
        found = code.decode(read, sure, size)
        for factor in (1e-9, 1e9):
            assert code.decode(read, tuple(factor * s for s in sure), size) == found
        nothing = code.decode(read, (0.0,) * 256, size)
        assert nothing == code.decode(read, (1.0,) * 256, size)


def test_noise_is_told():
    for code in CODES:
        length = code.length(64)
        for seed in range(10):
            assert code.decode(random(length, seed), (1.0,) * length, 64) is None


def test_several_words_are_read_each_on_its_own():
    code, payload = Ldpc(), random(2050)
    sent = code.encode(payload)
    assert len(sent) == 2050 + 3 * 684
    read = sent.array()
    read[::23] ^= 1
    assert code.decode(Payload(tuple(read.tolist())), (1.0,) * len(read), 2050) == payload
    read[: 684 + 684] = random(684 + 684).symbols
    assert code.decode(Payload(tuple(read.tolist())), (1.0,) * len(read), 2050) is None


def test_other_rates_are_refused():
    with pytest.raises(ConfigurationError, match="ldpc: option row: expected 4, 6 or 12"):
        plugins.create(Code, Spec("ldpc", {"row": 5}))
