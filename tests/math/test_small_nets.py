"""Small nets against torch: answers, and derivatives by weights and inputs."""

from __future__ import annotations

import numpy as np
import pytest

from nnw_onnx.math import small_nets
from nnw_onnx.math.small_nets import SmallNet


def drawn(rng, *, biased):
    """A net of 7 inputs, 5 sigmoids and 3 outputs."""
    biases = (rng.standard_normal(5), rng.standard_normal(3)) if biased else ()
    return SmallNet(rng.standard_normal((5, 7)), rng.standard_normal((3, 5)), *biases)


@pytest.mark.parametrize("biased", [False, True])
def test_answers_and_derivatives_are_those_of_torch(rng, biased):
    torch = pytest.importorskip("torch")
    net, inputs = drawn(rng, biased=biased), rng.standard_normal((4, 7))
    by_logits = rng.standard_normal((4, 3))
    parts = [None if a is None else torch.tensor(a, requires_grad=True) for a in net]
    x = torch.tensor(inputs, requires_grad=True)
    inner, outer, inner_bias, outer_bias = parts
    hidden = torch.sigmoid(torch.nn.functional.linear(x, inner, inner_bias))
    logits = torch.nn.functional.linear(hidden, outer, outer_bias)
    logits.backward(torch.tensor(by_logits))
    done = small_nets.forward(net, inputs)
    np.testing.assert_allclose(done.logits, logits.detach().numpy(), rtol=1e-12)
    slopes = small_nets.backward(net, done, by_logits)
    np.testing.assert_allclose(slopes.inputs, x.grad.numpy(), rtol=1e-10)
    for told, part in zip(slopes.net, parts, strict=True):
        assert (told is None) == (part is None)
        if part is not None:
            np.testing.assert_allclose(told, part.grad.numpy(), rtol=1e-10)


def test_large_inputs_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        found = small_nets.sigmoid(np.array([-1e4, -1.0, 0.0, 1.0, 1e4]))
    expected = [0.0, 1 / (1 + np.e), 0.5, np.e / (1 + np.e), 1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-15)
