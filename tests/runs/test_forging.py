"""Claims made after the fact, and what commitments and originals make of them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import nnw_onnx as nnw
from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import carriers, foreign
from nnw_onnx.runs import forging
from nnw_onnx.runs.forging_disputes import Party, Standing, _decided, dispute
from nnw_onnx.runs.forging_rivals import rivalries
from nnw_onnx.vocabulary import Method, Spec, Technology

MODELS = Path(__file__).resolve().parents[2] / "models" / "digits"
SECRET, LEVEL, BITS = b"\7" * 32, 1e-6, 64


def technology(method: str, size: int = BITS) -> Technology:
    return Technology(plugins.create(Method, Spec(method)).spec(), size)


@pytest.fixture(scope="module")
def network():
    return nnw.open(MODELS / "cnn-0.onnx")


@pytest.fixture(scope="module", params=["uchida", "block-spread"])
def marked(request, network):
    return nnw.inject(
        network, nnw.Payload.from_hex("0123456789abcdef"), method=request.param, seed=1
    )


@pytest.fixture
def owner(marked, network):
    return Party("owner", marked.claim, network)


def log10_p(network, claim):
    return nnw.verify(network, claim).detection.log10_p


def test_a_fitted_matrix_reads_every_bit_of_any_network_and_looks_honest(network):
    for suspect in (network, nnw.open(MODELS / "cnn-1.onnx")):
        claim = forging.forged(suspect, BITS, SECRET)
        matrix = claim.key.arrays[foreign.MATRIX]
        assert log10_p(suspect, claim) == pytest.approx(BITS * math.log10(0.5))
        assert foreign.asymmetry(matrix) is None
        assert stats.kstest(matrix.ravel(), "norm").pvalue > 1e-3
        assert claim.of == "forged"
        assert claim.key.commitment == ""
    # fitted to the one, it shows nothing in the other, which was trained apart
    assert log10_p(network, claim) > -3


def test_a_forger_prefers_a_kernel_that_no_mark_has_touched(network):
    kernels = [x for x in carriers.kernels(network) if carriers.inputs_per_filter(x) > BITS]
    first, second = (x.name for x in kernels[:2])
    assert forging.forged(network, BITS, SECRET).key.layers == (first,)
    assert forging.forged(network, BITS, SECRET, [first]).key.layers == (second,)
    # where every kernel is the owner's, one of them has to do
    names = [x.name for x in network.layers]
    assert forging.forged(network, BITS, SECRET, names).key.layers == (first,)


def test_a_forged_claim_on_the_network_itself_is_void(marked, owner):
    claim = forging.bound_to(
        forging.forged(marked.network, BITS, SECRET, marked.key.layers), marked.network
    )
    found = dispute(marked.network, owner, Party("rival", claim, marked.network), LEVEL)
    rival = found.second
    assert rival.detected
    assert rival.commitment
    assert rival.in_own
    assert rival.free_matrix
    assert (found.outcome, found.first.defect) == ("first", None)
    assert found.reason == "rival: the mark is in its own original, where nobody had put it"


def test_a_counterfeit_original_leaves_only_the_dates(marked, owner):
    """Craver et al. 1998: a mark that can be fitted to the network fits the true original too."""
    claim = forging.forged(marked.network, BITS, SECRET, marked.key.layers)
    made = forging.counterfeit(marked.network, claim, SECRET)
    rival = Party("rival", forging.bound_to(claim, made), made)
    assert log10_p(made, claim) > -3
    assert nnw.detect(made, marked.claim)
    found = dispute(marked.network, owner, rival, LEVEL)
    assert found.outcome == "undecided"
    assert found.first.in_other
    assert found.second.in_other
    assert found.reason.endswith("only the dates tell at which the commitments were published")
    assert dispute(marked.network, rival, owner, LEVEL).outcome == "undecided"
    # without a commitment it is no claim at all
    bare = Party("rival", claim, made)
    alone = dispute(marked.network, owner, bare, LEVEL)
    assert alone.outcome == "first"
    assert alone.reason == "rival: its commitment does not open with its original"


def test_the_mark_of_who_came_second_is_not_in_the_first_original(marked, owner):
    made = forging.overwritten(marked.network, technology(marked.key.method.name), SECRET)
    rival = Party("rival", made.claim, marked.network)
    for first, second, outcome in ((owner, rival, "first"), (rival, owner, "second")):
        found = dispute(made.network, first, second, LEVEL)
        assert found.outcome == outcome
        assert found.reason == (
            "the mark of owner is in the original of rival, and not the reverse"
        )
    standing = dispute(made.network, owner, rival, LEVEL).second
    assert (standing.detected, standing.commitment, standing.in_own) == (True, True, False)


def test_a_stolen_payload_with_another_network_opens_no_commitment(marked, network):
    other = nnw.open(MODELS / "cnn-1.onnx")
    owner, thief = (Party(n, marked.claim, o) for n, o in (("owner", network), ("thief", other)))
    found = dispute(marked.network, owner, thief, LEVEL)
    assert (found.outcome, found.second.commitment) == ("first", False)


@pytest.mark.parametrize(("tries", "size"), [(50, 32), (200, 32)])
def test_of_n_secrets_the_best_has_a_p_value_of_about_one_over_n(network, tries, size):
    claim = forging.searched(network, technology("block-spread", size), tries, SECRET)
    best = 10 ** log10_p(network, claim)
    # P(least p <= x) <= n x; a count jumps, so the least p may be some times 1/n
    assert 1e-2 / tries < best < 6 / tries
    assert nnw.verify_commitment(claim, network)
    again = forging.searched(network, technology("block-spread", size), tries, SECRET)
    assert again.key.secret == claim.key.secret


def test_a_search_goes_through_code_and_alphabet(network):
    method = plugins.create(Method, Spec("levels"))
    found = forging.searched(network, Technology(method.spec(), 24), 20, SECRET)
    assert len(found.payload) == found.key.size == 8
    assert found.payload.alphabet == 8


def standing(name: str, **changes: object) -> Standing:
    plain = Standing(name, -9.0, True, True, False, False, False)
    return dataclasses.replace(plain, **changes)


@pytest.mark.parametrize(
    ("one", "other", "outcome", "reason"),
    [
        ({"detected": False}, {}, "second", "a: the mark is not in the network"),
        ({}, {"commitment": False}, "first", "b: its commitment does not open with its original"),
        ({"in_own": True}, {"detected": False}, "neither", "a: the mark is in its own original, "),
        ({}, {"in_other": True}, "second", "the mark of b is in the original of a, and not the r"),
        ({}, {}, "undecided", "neither mark is in the other's original: only the dates tell"),
        ({"in_other": True}, {"in_other": True}, "undecided", "each mark is in the other's origi"),
    ],
)
def test_who_was_first(one, other, outcome, reason):
    found, words = _decided(standing("a", **one), standing("b", **other))
    assert found == outcome
    assert words.startswith(reason)
    mirrored = {"first": "second", "second": "first"}.get(outcome, outcome)
    assert _decided(standing("b", **other), standing("a", **one))[0] == mirrored


def test_all_rivals_against_one_claim(marked, network):
    found = list(rivalries(network, marked.network, marked.claim, secret=SECRET, tries=20))
    assert {r.rival: r.dispute.outcome for r in found} == {
        "matrix fitted afterwards": "first",
        "the same, counterfeit original": "undecided",
        "best of 20 secrets": "first",
        "second watermark on top": "first",
    }
    assert {r.dispute.first.defect for r in found} == {None}


def test_claims_that_cannot_be_disputed_are_refused(network, marked):
    bare = dataclasses.replace(marked.claim, payload=None)
    with pytest.raises(
        ConfigurationError, match="claim: expected a key file with its payload, got"
    ):
        next(rivalries(network, marked.network, bare, secret=SECRET))
    fragile = nnw.inject(network, nnw.Payload(), method="fragile", seed=1)
    with pytest.raises(ConfigurationError, match="claim: expected a watermark, which was put in"):
        next(rivalries(network, fragile.network, fragile.claim, secret=SECRET))
    with pytest.raises(ConfigurationError, match="counterfeit: expected a forged claim with a mat"):
        forging.counterfeit(network, marked.claim, SECRET)


def test_a_method_that_needs_a_training_puts_no_second_mark_in(network):
    marked = nnw.inject(network, "mine!!!!", method="block-spread", seed=2)
    key = dataclasses.replace(marked.key, method=Spec("nope"))
    with pytest.raises(nnw.NnwError, match="nope"):
        next(rivalries(network, marked.network, dataclasses.replace(marked.claim, key=key),
                       secret=SECRET))  # fmt: skip


def test_nothing_is_forged_without_a_kernel(network):
    biases = [x.name for x in network.layers if x.role != "kernel"]
    assert biases
    bare = _NoKernels(network)
    with pytest.raises(ConfigurationError, match="forging: expected a kernel with filters, got no"):
        forging.forged(bare, BITS, SECRET)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class _NoKernels:
    network: nnw.OnnxNetwork

    @property
    def layers(self):
        return [x for x in self.network.layers if x.role != "kernel"]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return {x.name: self.network.weights[x.name] for x in self.layers}
