"""Clauses on what a watermarking method does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnw_onnx.arrays import binomial, keystream
from nnw_onnx.errors import CarrierNotFoundError, InjectionError, NnwError
from nnw_onnx.testing.array_network import ArrayNetwork
from nnw_onnx.testing.checks import require
from nnw_onnx.testing.descent import descended
from nnw_onnx.vocabulary import Decoding, Detection, Key, Payload

_SHAPES = {"conv": (32, 32, 3, 3), "middle": (24, 16, 3, 3), "head": (10, 600)}
WRONG_KEYS = 200


def secret(label: str) -> bytes:
    """A secret of 32 bytes for a label."""
    return hashlib.sha256(label.encode()).digest()


def network(dtype: str = "float32") -> ArrayNetwork:
    """A small network of keyed Gaussian weights with a mean that is not zero."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, shape in _SHAPES.items():
        values = keystream.gaussian(secret("weights"), name, int(np.prod(shape)))
        arrays[name] = (0.05 * values + 0.02).reshape(shape).astype(dtype)
    arrays["bias"] = np.linspace(-1, 1, 10).astype(dtype)
    return ArrayNetwork.of(arrays)


def payload(size: int) -> Payload:
    """A payload with more ones than zeros."""
    drawn = keystream.uint64(secret("payload"), "payload", size) % np.uint64(3) > 0
    return Payload(tuple(int(bit) for bit in drawn))


def put_in(method: Any, plain: ArrayNetwork, symbols: Payload, key: Key) -> ArrayNetwork:
    """The watermarked network: by the method itself, else by descent on its penalty alone."""
    if hasattr(method, "inject"):
        marked: ArrayNetwork = method.inject(plain, symbols, key)
        return marked
    return descended(method, plain, symbols, key)


def marked_network(method: Any, size: int = 64) -> tuple[ArrayNetwork, Key, ArrayNetwork]:
    """An unwatermarked network, the owner's key, and the watermarked network."""
    plain = network()
    key = method.make_key(plain, size, secret("owner"))
    return plain, key, put_in(method, plain, payload(size), key)


def _reads_back(size: int, dtype: str) -> Callable[[Any], None]:
    def clause(method: Any) -> None:
        plain = network(dtype)
        key = method.make_key(plain, size, secret("owner"))
        wrong = method.decode(put_in(method, plain, payload(size), key), key).payload.errors(
            payload(size)
        )
        require(wrong == 0, f"{size} symbols read back from {dtype}", f"{wrong} wrong ones",
                "raise InjectionError in inject where the payload cannot be read back")  # fmt: skip

    return clause


def _key_is_complete(method: Any) -> None:
    plain = network()
    key = method.make_key(plain, 32, secret("owner"))
    shapes = {layer.name: layer.shape for layer in plain.layers}
    require(key.method == method.name, f"method {method.name!r} in the key", key.method, "set it")
    require(key.payload_size == 32, "payload_size 32 in the key", key.payload_size, "set it")
    require(key.secret == secret("owner"), "the given secret in the key", "another", "keep it")
    require(
        tuple(shapes.get(name) for name in key.layers) == key.shapes,
        "carrier layers with their shapes in the key",
        f"{key.layers} of {key.shapes}",
        "take them from network.layers",
    )
    require(json.dumps(dict(key.options)), "options of JSON values", "none", "convert them")
    require(key.notes, "a note on why the carrier was chosen", "none", "fill Key.notes")
    again = method.make_key(network(), 32, secret("owner"))
    require(again == key, "the same key from the same secret", "another", "use only the secret")


def _is_repeatable(method: Any) -> None:
    _, _, first = marked_network(method)
    _, _, second = marked_network(method)
    require(_same(first.weights, second.weights), "the same network from the same secret",
            "another", "derive everything random from the secret")  # fmt: skip


def _keeps_its_input(method: Any) -> None:
    plain, key, marked = marked_network(method)
    require(_same(plain.weights, network().weights), "an untouched network", "a changed one",
            "copy the weights before changing them")  # fmt: skip
    before = _digest(marked.weights)
    method.decode(marked, key)
    require(_digest(marked.weights) == before, "decode to only read", "a change", "copy first")


def _changes_only_carriers(method: Any) -> None:
    plain, key, marked = marked_network(method)
    changed = {n for n, w in marked.weights.items() if not np.array_equal(w, plain.weights[n])}
    require(changed and changed <= set(key.layers), f"changes in {set(key.layers)} only",
            f"changes in {changed or 'no layer'}", "list every carrier in Key.layers")  # fmt: skip


def _takes_the_named_layer(method: Any) -> None:
    key = method.make_key(network(), 8, secret("owner"), "middle")
    require(key.layers == ("middle",), "the layer 'middle' as asked", key.layers, "use `layer`")


def _detects_its_payload(method: Any) -> None:
    _, key, marked = marked_network(method)
    found: Detection = method.detect(marked, payload(64), key)
    require(found.detected and found.n == 64, "its payload detected", found, "compare all symbols")
    opposite = Payload(tuple(1 - s for s in payload(64).symbols))
    other: Detection = method.detect(marked, opposite, key)
    require(not other.detected, "the opposite payload not detected", other, "test one side")
    require(other.p_inverted <= 1e-6, "p_inverted to tell an inverted watermark",
            other.p_inverted, "test the number of differing symbols as well")  # fmt: skip


def _wrong_keys_guess(method: Any) -> None:
    """P-values of wrong keys are at most uniform: a failure by chance has probability 1e-9."""
    plain, key, marked = marked_network(method)
    for name, suspect in (("watermarked", marked), ("unwatermarked", plain)):
        values = []
        for index in range(WRONG_KEYS):
            wrong = method.make_key(plain, 64, secret(f"wrong {index}"))
            values.append(method.detect(suspect, payload(64), wrong).p_value)
        require_guesses(values, f"on the {name} network")
    own: Detection = method.detect(plain, payload(64), key)
    require(not own.detected, "nothing detected before injection", own, "see the null")


def require_guesses(p_values: list[float], where: str) -> None:
    """Require p-values of wrong keys that are at most uniform, but for a chance of 1e-9."""
    small, size = sum(p <= 0.1 for p in p_values), len(p_values)
    limit = binomial.threshold(size, 1e-9, Fraction(1, 10)) or 0
    require(small < limit, f"p <= 0.1 for about a tenth of {size} wrong keys {where}", f"{small}",
            "draw every random object from the secret, symmetric about zero, and mask the "
            "payload")  # fmt: skip


def _tells_its_confidence(method: Any) -> None:
    _, key, marked = marked_network(method)
    decoding: Decoding = method.decode(marked, key)
    values = np.array(decoding.confidence)
    require(len(values) == 64 and np.isfinite(values).all() and (values >= 0).all(),
            "a finite confidence >= 0 for each symbol", decoding.confidence[:4],
            "see vocabulary.Decoding")  # fmt: skip


def refused(error: type[NnwError], what: str, act: Callable[[], object]) -> None:
    """Require an error of one line."""
    try:
        act()
    except error as raised:
        require("\n" not in str(raised), "an error of one line", repr(str(raised)), "shorten it")
        return
    require(False, f"{error.__name__} for {what}", "no error", "refuse it")


def _refuses_unknown_layer(method: Any) -> None:
    refused(InjectionError, "a layer that does not exist",
             lambda: method.make_key(network(), 8, secret("owner"), "no such layer"))  # fmt: skip


def _refuses_too_long_payload(method: Any) -> None:
    def act() -> None:
        size = sum(w.size for w in network().weights.values()) + 1
        key = method.make_key(network(), size, secret("owner"))
        put_in(method, network(), payload(size), key)

    refused(InjectionError, "more symbols than weights", act)


def _refuses_payload_of_another_size(method: Any) -> None:
    key = method.make_key(network(), 32, secret("owner"))
    refused(NnwError, "a payload of another size than the key's",
             lambda: put_in(method, network(), payload(31), key))  # fmt: skip


def _misses_the_carrier(method: Any) -> None:
    _, key, _ = marked_network(method)
    foreign = ArrayNetwork.of({"other": np.ones((5, 7, 1, 1), np.float32)})
    refused(CarrierNotFoundError, "a network without the carrier",
             lambda: method.decode(foreign, key))  # fmt: skip


def _same(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]) -> bool:
    return _digest(first) == _digest(second)


def _digest(weights: Mapping[str, NDArray[Any]]) -> str:
    state = hashlib.sha256()
    for name, values in weights.items():
        state.update(f"{name}{values.dtype}{values.shape}".encode() + values.tobytes())
    return state.hexdigest()


CLAUSES: dict[str, Callable[[Any], None]] = {
    "makes a complete key": _key_is_complete,
    **{
        f"reads back {size} symbols from {dtype}": _reads_back(size, dtype)
        for size, dtype in ((1, "float32"), (8, "float64"), (64, "float32"), (64, "float16"))
    },
    "gives the same network for the same secret": _is_repeatable,
    "leaves its input untouched": _keeps_its_input,
    "changes only its carriers": _changes_only_carriers,
    "takes the layer it is given": _takes_the_named_layer,
    "detects its payload": _detects_its_payload,
    "guesses with a wrong key": _wrong_keys_guess,
    "tells its confidence": _tells_its_confidence,
    "refuses an unknown layer": _refuses_unknown_layer,
    "refuses a payload that is too long": _refuses_too_long_payload,
    "refuses a payload of another size": _refuses_payload_of_another_size,
    "says where the carrier is missing": _misses_the_carrier,
}
