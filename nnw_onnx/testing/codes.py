"""Clauses on what an error-correcting code does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import keystream
from nnw_onnx.testing.array_training import secret
from nnw_onnx.testing.checks import require
from nnw_onnx.vocabulary import Code, Payload

_SIZES = (1, 8, 13, 16, 24, 32, 64, 100)


def _payloads(code: Code) -> list[Payload]:
    """A payload of each size that the code has; at least one of them."""
    found = []
    for size in _SIZES:
        try:
            code.length(size)
        except ConfigurationError:
            continue
        bits = keystream.bits(secret("code"), f"{size}", size)
        found.append(Payload(tuple(int(b) for b in bits)))
    require(found, f"a code for some of the sizes {_SIZES}", "none", "see Code.length")
    return found


def _round_trip(code: Code) -> None:
    for payload in _payloads(code):
        sent = code.encode(payload)
        require(len(sent) == code.length(len(payload)) >= len(payload) and sent.alphabet == 2,
                f"{code.length(len(payload))} bits for {len(payload)}", len(sent),
                "let length and encode agree")  # fmt: skip
        back = code.decode(sent, (1.0,) * len(sent), len(payload))
        require(back == payload, f"a payload of {len(payload)} bits back", back, "see decode")


def _corrects(code: Code) -> None:
    for payload in _payloads(code):
        sent = code.encode(payload)
        for place in sorted({0, len(sent) // 2, len(sent) - 1}):
            read = list(sent.symbols)
            read[place] ^= 1
            sure = tuple(0.1 if i == place else 1.0 for i in range(len(read)))
            back = code.decode(Payload(tuple(read)), sure, len(payload))
            require(back == payload, f"one wrong bit of {len(sent)} corrected", back, "see decode")


def _answers_anything(code: Code) -> None:
    for payload in _payloads(code):
        count = code.length(len(payload))
        noise = Payload(tuple(int(b) for b in keystream.bits(secret("noise"), "n", count)))
        first, again = (code.decode(noise, (0.0,) * count, len(payload)) for _ in range(2))
        require(first == again, "the same answer to the same bits", "another", "use no randomness")
        fits = first is None or (len(first) == len(payload) and first.alphabet == 2)
        require(fits, f"None or {len(payload)} bits for noise", first, "see Code.decode")


def _is_pure(code: Code) -> None:
    for payload in _payloads(code):
        sure = tuple(np.linspace(0.5, 1, code.length(len(payload))).tolist())
        same = code.encode(payload) == code.encode(payload)
        require(same, "the same code word for the same payload", "another", "use no randomness")
        back = code.decode(code.encode(payload), sure, len(payload))
        require(back == payload, "unequal confidence of right bits to do no harm", back,
                "weigh bits by their confidence")  # fmt: skip


CLAUSES: dict[str, Callable[[Code], None]] = {
    "gives a payload back": _round_trip,
    "corrects one wrong bit": _corrects,
    "answers noise": _answers_anything,
    "is repeatable": _is_pure,
}
