"""LSTM, GRU and RNN: the product with the input is made for all steps at once.

Where nothing of an operator is beyond torch's own layer, that layer runs, with its gates reordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nnw_onnx_torch.graph.operators._functions import Function, activation
from nnw_onnx_torch.graph.operators._table import Call, operator

State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


def _activations(call: Call, default: list[str], directions: int) -> list[list[Function]]:
    """The activations of each direction; alpha and beta are consumed in their order."""
    names = call.get("activations") or default * directions
    alphas = iter(call.get("activation_alpha") or ())
    betas = iter(call.get("activation_beta") or ())
    functions = [activation(name, alphas, betas) for name in names]
    count = len(default)
    return [functions[i * count : (i + 1) * count] for i in range(directions)]


@dataclass(frozen=True)
class _Direction:
    """What one direction computes with: `r` (gates * hidden, hidden), biases (gates * hidden,)."""

    r: Tensor
    input_bias: Tensor | None
    recurrent_bias: Tensor | None
    peepholes: Tensor | None
    functions: list[Function]
    clip: Function
    call: Call


def _lstm_step(d: _Direction) -> Step:
    f, g, h = d.functions
    coupled = bool(d.call.get("input_forget", 0))
    pi, po, pf = (None,) * 3 if d.peepholes is None else d.peepholes.chunk(3)
    r = d.r.t()

    def peep(gate: Tensor, p: Tensor | None, cell: Tensor) -> Tensor:
        return gate if p is None else gate + p * cell

    def step(projected: Tensor, state: State) -> State:
        hidden, cell = state
        i, o, forget, c = (projected + hidden @ r).chunk(4, -1)
        i = f(d.clip(peep(i, pi, cell)))
        forget = 1 - i if coupled else f(d.clip(peep(forget, pf, cell)))
        cell = forget * cell + i * g(d.clip(c))
        o = f(d.clip(peep(o, po, cell)))
        return o * h(cell), cell

    return step


def _gru_step(d: _Direction) -> Step:
    f, g = d.functions
    size = d.r.shape[1]
    r_gates, r_hidden = d.r[: 2 * size].t(), d.r[2 * size :].t()
    bias = None if d.recurrent_bias is None else d.recurrent_bias[2 * size :]
    before = bool(d.call.get("linear_before_reset", 0))

    def hidden_product(x: Tensor) -> Tensor:
        return x @ r_hidden if bias is None else torch.addmm(bias, x, r_hidden)

    def step(projected: Tensor, state: State) -> State:
        (hidden,) = state
        gates = projected[:, : 2 * size] + hidden @ r_gates
        z, reset = f(d.clip(gates)).chunk(2, -1)
        recurrent = reset * hidden_product(hidden) if before else hidden_product(reset * hidden)
        new = g(d.clip(projected[:, 2 * size :] + recurrent))
        return ((1 - z) * new + z * hidden,)

    return step


def _rnn_step(d: _Direction) -> Step:
    (f,) = d.functions
    r = d.r.t()
    return lambda projected, state: (f(d.clip(projected + state[0] @ r)),)


def _walk(
    step: Step, projected: Tensor, state: State, lengths: Tensor | None, backwards: bool
) -> tuple[Tensor, State]:
    """All hidden states (t, n, h) and the last state; a finished sample keeps its state."""
    steps = projected.unbind(0)
    outputs: list[Tensor] = []
    for t in reversed(range(len(steps))) if backwards else range(len(steps)):
        new = step(steps[t], state)
        if lengths is None:
            outputs.append(new[0])
        else:
            running = (t < lengths)[:, None]
            outputs.append(new[0] * running)
            new = tuple(torch.where(running, n, s) for n, s in zip(new, state, strict=True))
        state = new
    return torch.stack(outputs[::-1] if backwards else outputs), state


@dataclass(frozen=True)
class _Kind:
    """What sets an operator apart: gates, states, default activations, its step.

    `order` are its gates in torch's order; `native` is torch's layer, or None.
    """

    gates: int
    states: int
    default: list[str]
    step: Callable[[_Direction], Step]
    order: tuple[int, ...]
    native: Callable[..., tuple[Tensor, ...]] | None


def _native(
    kind: _Kind, x: Tensor, weights: list[Tensor], state: State, directions: int, backwards: bool
) -> tuple[Tensor, State]:
    """The operator by torch's own layer; `weights` are (gates * hidden, ...), w, r and biases."""
    assert kind.native is not None
    ordered = [
        torch.cat([tensor.chunk(kind.gates)[gate] for gate in kind.order]) for tensor in weights
    ]
    biased = len(weights) == 4 * directions
    given = state if kind.states > 1 else state[0]
    x = x.flip(0) if backwards else x
    y, *last = kind.native(x, given, ordered, biased, 1, 0.0, False, directions == 2, False)
    y = y.reshape(*y.shape[:2], directions, -1).transpose(1, 2)
    return y.flip(0) if backwards else y, tuple(last)


def _is_native(kind: _Kind, call: Call, lengths: Tensor | None, p: Tensor | None) -> bool:
    """Whether torch's own layer computes the same."""
    names = call.get("activations") or []
    plain = [n.lower() for n in names] == [n.lower() for n in kind.default] * (
        len(names) // len(kind.default)
    )
    if kind.gates == 3 and not call.get("linear_before_reset", 0):
        return False
    beyond = (call.get("clip"), call.get("input_forget", 0))
    return kind.native is not None and plain and not any(beyond) and lengths is None and p is None


def _recur(
    kind: _Kind,
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    initial: tuple[Tensor | None, ...],
    p: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Y (t, d, n, h) or (n, t, d, h), then the last states (d, n, h) or (n, d, h)."""
    batch_first = bool(call.get("layout", 0))
    if batch_first:
        x = x.transpose(0, 1)
        initial = tuple(None if s is None else s.transpose(0, 1) for s in initial)
    directions, size = r.shape[0], r.shape[2]
    zeros = x.new_zeros(directions, x.shape[1], size)
    state = tuple(zeros if s is None else s for s in initial)
    backwards = call.get("direction", "forward") == "reverse"
    if lengths is not None:
        lengths = lengths.to(x.device)
    if _is_native(kind, call, lengths, p):
        parts = [w, r] if b is None else [w, r, *b.chunk(2, 1)]
        weights = [part[d] for d in range(directions) for part in parts]
        y, last = _native(kind, x, weights, tuple(s.contiguous() for s in state), directions,
                          backwards)  # fmt: skip
    else:
        y, last = _directions(kind, call, x, (w, r, b, p), state, lengths, backwards)
    if batch_first:
        return y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last)
    return y, *last


def _directions(
    kind: _Kind,
    call: Call,
    x: Tensor,
    weights: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    state: State,
    lengths: Tensor | None,
    backwards: bool,
) -> tuple[Tensor, State]:
    """The operator step by step, one direction after the other."""
    w, r, b, p = weights
    count = r.shape[0]
    limit = call.get("clip")
    clip: Function = (lambda v: v.clamp(-limit, limit)) if limit else (lambda v: v)
    functions = _activations(call, kind.default, count)
    walked: list[tuple[Tensor, State]] = []
    for d in range(count):
        wb, rb = (None, None) if b is None else b[d].chunk(2)
        direction = _Direction(r[d], wb, rb, None if p is None else p[d], functions[d], clip, call)
        step = kind.step(direction)
        bias = _folded(direction, kind.gates == 3)
        projected = functional.linear(x, w[d], bias)
        start = tuple(s[d] for s in state)
        walked.append(_walk(step, projected, start, lengths, backwards or d == 1))
    y = torch.stack([hidden for hidden, _ in walked], 1)
    return y, tuple(torch.stack(s) for s in zip(*(last for _, last in walked), strict=True))


def _folded(d: _Direction, keeps_last: bool) -> Tensor | None:
    """Both biases in one; a GRU adds the recurrent bias of its last gate within the step."""
    if d.input_bias is None or d.recurrent_bias is None:
        return None
    if not keeps_last:
        return d.input_bias + d.recurrent_bias
    size = d.r.shape[1]
    return d.input_bias + functional.pad(d.recurrent_bias[: 2 * size], (0, size))


_LSTM = _Kind(4, 2, ["Sigmoid", "Tanh", "Tanh"], _lstm_step, (0, 2, 3, 1), torch.lstm)
_GRU = _Kind(3, 1, ["Sigmoid", "Tanh"], _gru_step, (1, 0, 2), torch.gru)
_RNN = _Kind(1, 1, ["Tanh"], _rnn_step, (0,), torch.rnn_tanh)


@operator("LSTM")
def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
    cell: Tensor | None = None,
    p: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Long short-term memory: Y, Y_h and Y_c; gates i, o, f, c."""
    return _recur(_LSTM, call, x, w, r, b, lengths, (hidden, cell), p)


@operator("GRU")
def gru(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gated recurrent unit: Y and Y_h; gates z, r, h."""
    return _recur(_GRU, call, x, w, r, b, lengths, (hidden,))


@operator("RNN")
def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Elman network: Y and Y_h."""
    return _recur(_RNN, call, x, w, r, b, lengths, (hidden,))
