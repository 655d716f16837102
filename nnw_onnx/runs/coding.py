"""Between the bits of a payload and the Symbols of a network: code and alphabet."""

from __future__ import annotations

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.runs import guard
from nnw_onnx.vocabulary import Code, Decoding, Key, Method, Payload, symbols_for


def symbols_of(method: Method, code: Code | None, payload: Payload) -> Payload:
    """The Symbols that carry these bits: encoded, then packed into the method's alphabet.

    Raises:
        ConfigurationError: a payload for a method that carries none, none for one that does,
            Symbols that are no bits, or a size that the code has not.
        PluginError: the code breaks its contract.
    """
    _check_size(method, code, payload)
    if not method.alphabet:
        return Payload()
    bits = payload if code is None else _encoded(code, payload)
    return bits if method.alphabet == 2 else bits.packed(method.alphabet)


def bits_of(method: Method, code: Code | None, key: Key, read: Decoding) -> Payload | None:
    """The payload of the Symbols that were read; None where the code knows that it failed.

    Without code and with an alphabet of two these are the Symbols themselves.

    Raises:
        PluginError: the code breaks its contract.
    """
    if not between(method, code):
        return read.payload
    bits, confidence = _unpacked(method, code, key, read)
    if code is None:
        return bits
    found = guard.guarded(code, "decode", lambda: code.decode(bits, confidence, key.carries))
    return found if found is None else _of_bits(code, "decode", found, key.carries, " or None")


def check_key(method: Method, code: Code | None, key: Key) -> None:
    """Raise `ConfigurationError` where a key has not the Symbols of its own code and alphabet.

    A method that stores its own number of Symbols, and keys that never had a payload, are left out.
    """
    if code is None or not key.carries or method.alphabet < 2:
        return
    bits = _length(code, key.carries)
    wanted = bits if method.alphabet == 2 else symbols_for(bits, method.alphabet)
    if key.size != wanted:
        raise ConfigurationError(
            f"key: expected {wanted} symbols for {key.carries} bits of {key.code}, got {key.size}: "
            "it is of another code or payload; restore it from a copy"
        )


def between(method: Method, code: Code | None) -> bool:
    """Whether a code or an alphabet stands between the payload and the Symbols."""
    return code is not None or method.alphabet > 2


def _unpacked(
    method: Method, code: Code | None, key: Key, read: Decoding
) -> tuple[Payload, tuple[float, ...]]:
    """Bits before the code is undone, and the confidence of each."""
    size = key.carries if code is None else _length(code, key.carries)
    # Answers may come from a larger alphabet than the payload's, as the classes of a trigger do:
    # such a Symbol is wrong for sure, so its bits are guessed and their confidence is none.
    known = [symbol < method.alphabet for symbol in read.payload.symbols]
    symbols = tuple(s if k else 0 for s, k in zip(read.payload.symbols, known, strict=True))
    sure = [c if k else 0.0 for c, k in zip(read.confidence, known, strict=True)]
    if method.alphabet == 2:
        return Payload(symbols), tuple(sure)
    return Payload(symbols, method.alphabet).unpacked(size), _spread(method.alphabet, sure, size)


def _spread(alphabet: int, sure: list[float], size: int) -> tuple[float, ...]:
    """Confidence of each bit: of the Symbol that holds it, where one Symbol does."""
    width = alphabet.bit_length() - 1
    if alphabet != 1 << width:
        return (1.0,) * size
    wide = [c for c in sure for _ in range(width)]
    return tuple(wide[len(wide) - size :])


def _encoded(code: Code, payload: Payload) -> Payload:
    bits = guard.guarded(code, "encode", lambda: code.encode(payload))
    return _of_bits(code, "encode", bits, _length(code, len(payload)))


def _of_bits(code: Code, what: str, answer: object, size: int, other: str = "") -> Payload:
    if not isinstance(answer, Payload) or answer.alphabet != 2 or len(answer) != size:
        got = f"{len(answer)} symbols" if isinstance(answer, Payload) else type(answer).__name__
        raise guard.fault(code, what, f"{size} bits{other}, got {got}")
    return answer


def _length(code: Code, size: int) -> int:
    length = guard.guarded(code, "length", lambda: code.length(size))
    if not isinstance(length, int) or length < 0:
        raise guard.fault(code, "length", f"a number of bits, got {length!r}")
    return length


def _check_size(method: Method, code: Code | None, payload: Payload) -> None:
    if method.alphabet and not len(payload):
        raise ConfigurationError(
            f"{method.name}: expected a payload of at least 1 bit, got none; give one"
        )
    if not method.alphabet and (len(payload) or code is not None):
        raise ConfigurationError(
            f"{method.name}: expected no payload and no code, because it only says that it is "
            f"there, got {len(payload)} bits; leave them out"
        )
    if payload.alphabet != 2:
        raise ConfigurationError(
            f"payload: expected bits, got symbols of an alphabet of {payload.alphabet}; give its "
            "bits, which are packed into the alphabet of the method"
        )
