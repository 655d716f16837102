"""A trained extractor: what it starts from, a step of it, and the evidence that it cannot give."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import extractors
from nnw_onnx.kit.extractors import Extractor
from nnw_onnx.math.small_nets import SmallNet
from nnw_onnx.vocabulary import Payload

SECRET = bytes(range(32))
FORM = Extractor("reader", inputs=400, hidden=100, outputs=30, biased=True)


def test_it_starts_from_the_secret_within_the_bounds_of_torch():
    arrays = FORM.begin(SECRET, "some")
    net = FORM.net(arrays)
    assert {a.dtype.name for a in arrays.values()} == {"float32"}
    shapes = [a.shape for a in net if a is not None]
    assert shapes == [(100, 400), (30, 100), (100,), (30,)]
    for values, bound in ((net.inner, 0.05), (net.outer, 0.1)):
        assert np.abs(values).max() == pytest.approx(bound, rel=0.01)
        assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
        assert abs(values.mean()) < bound / 10
    again, other = FORM.begin(SECRET, "some"), FORM.begin(bytes(32), "some")
    assert all(np.array_equal(again[n], arrays[n]) for n in arrays)
    assert not np.array_equal(other["reader.inner"], arrays["reader.inner"])


def test_a_step_is_that_of_torch(rng):
    """Five steps of torch.optim.Adam on the same derivatives."""
    torch = pytest.importorskip("torch")
    form = Extractor("e", 6, 5, 4)
    state = form.begin(SECRET, "some")
    parts = [torch.tensor(a, requires_grad=True) for a in form.net(state)[:2]]
    adam = torch.optim.Adam(parts, lr=0.01, betas=(0.5, 0.999))
    for _ in range(5):
        slopes = SmallNet(rng.standard_normal((5, 6)), rng.standard_normal((4, 5)))
        for part, slope in zip(parts, slopes, strict=False):
            part.grad = torch.tensor(slope)
        adam.step()
        state = form.step({**state, "other.inner": np.ones(1)}, slopes, 0.01, (0.5, 0.999))
    assert "other.inner" not in state
    for told, part in zip(form.net(state), parts, strict=False):
        np.testing.assert_allclose(told, part.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_weights_are_cut_to_a_limit():
    form = Extractor("e", 6, 5, 4)
    slopes = SmallNet(np.ones((5, 6)), np.ones((4, 5)))
    net = form.net(form.step(form.begin(SECRET, "some"), slopes, 0.01, limit=0.02))
    assert np.abs(net.inner).max() == np.abs(net.outer).max() == np.float32(0.02)


def test_a_key_without_its_arrays_is_told():
    arrays = FORM.begin(SECRET, "some")
    lost = {n: a for n, a in arrays.items() if n != "reader.outer_bias"}
    message = r"expected reader.outer_bias of shape \(30,\) among its arrays, got none; restore"
    with pytest.raises(ConfigurationError, match=message):
        FORM.net(lost)
    message = r"expected reader.inner of shape \(100, 401\) among its arrays, got \(100, 400\); re"
    with pytest.raises(ConfigurationError, match=message):
        dataclasses.replace(FORM, inputs=401).net(arrays)


def test_the_evidence_is_a_count_without_a_p_value():
    found = extractors.matched(Payload.from_bits("0110"), Payload.from_bits("0111"))
    assert (found.statistic, found.log10_p, found.null.name) == (3, None, extractors.NULL)
    with pytest.raises(ConfigurationError, match="expected a known null"):
        found.decided(0.01)
    with pytest.raises(ConfigurationError, match="expected 4 symbols, got 3"):
        extractors.matched(Payload.from_bits("0110"), Payload.from_bits("011"))
