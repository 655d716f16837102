"""Merkle trees: the published roots of RFC 6962's first implementation, and its own definition."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from nnw_onnx.kit import merkle

# google/certificate-transparency, merkletree/merkle_tree_test.cc: leaves, and roots of 1 to 8.
LEAVES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_published_roots() -> None:
    leaves = [merkle.leaf(bytes.fromhex(content)) for content in LEAVES]
    assert [merkle.root(leaves[: k + 1]).hex() for k in range(8)] == ROOTS
    assert merkle.root([]).hex() == hashlib.sha256(b"").hexdigest()


def defined(contents: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word by word."""
    if not contents:
        return hashlib.sha256(b"").digest()
    if len(contents) == 1:
        return hashlib.sha256(b"\0" + contents[0]).digest()
    k = 1
    while 2 * k < len(contents):
        k *= 2
    return hashlib.sha256(b"\1" + defined(contents[:k]) + defined(contents[k:])).digest()


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_it_is_the_tree_of_the_definition(contents: list[bytes]) -> None:
    assert merkle.root([merkle.leaf(content) for content in contents]) == defined(contents)
    assert merkle.leaf(memoryview(b"abc")) == merkle.leaf(b"abc")
