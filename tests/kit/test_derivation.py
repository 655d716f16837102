"""HKDF against the vectors of RFC 5869."""

from __future__ import annotations

import pytest

from nnw_onnx.errors import ConfigurationError
from nnw_onnx.kit import derivation

# RFC 5869, appendix A.1 to A.3 (SHA-256): seed, salt, info, output.
VECTORS = [
    (
        "0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(), bytes(range(0x60, 0xB0)).hex(), bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e"
        "590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22, "", "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "salt", "info", "output"), VECTORS)
def test_the_vectors_of_the_rfc(seed, salt, info, output):
    given = [bytes.fromhex(part) for part in (seed, salt, info)]
    wanted = bytes.fromhex(output)
    assert derivation.hkdf(*given, len(wanted)) == wanted
    assert derivation.hkdf(*given, 7) == wanted[:7]


def test_secrets_of_labels_differ_and_come_again():
    seed = bytes(range(32))
    one, other = (derivation.secret_of(seed, label) for label in ("net/acme", "net/bolt"))
    assert len(one) == 32
    assert one != other != derivation.secret_of(bytes(32), "net/bolt")
    assert one == derivation.secret_of(seed, "net/acme")
    assert one == derivation.hkdf(seed, b"nnw-onnx master seed 1", b"net/acme", 32)


def test_what_is_refused():
    with pytest.raises(ConfigurationError, match="expected at least 16 bytes that nobody can"):
        derivation.secret_of(b"short", "net")
    with pytest.raises(ConfigurationError, match="names network and recipient, got none"):
        derivation.secret_of(bytes(32), "  ")
    with pytest.raises(ConfigurationError, match="expected 1 to 8160 bytes, got 8161"):
        derivation.hkdf(bytes(32), b"", b"", 8161)
