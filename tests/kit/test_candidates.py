"""Places of a carrier: renamed, turned, joined, interleaved; and which names are similar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnw_onnx.kit import candidates
from nnw_onnx.testing import ArrayNetwork

from .blocks import ODD, interleaved


def network(rng, **shapes):
    return ArrayNetwork.of({n: rng.standard_normal(s) for n, s in shapes.items()})


def described(places):
    return [(p.layer.name, p.part) for p in places]


def test_the_name_decides_alone(rng):
    net = network(rng, w=(4, 6), other=(4, 6))
    place = candidates.likely(net, "w", (4, 6))
    assert (place.layer.name, place.way, place.part) == ("w", "name", "")
    assert np.array_equal(place.of(net.weights), net.weights["w"])


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("model.conv.weight", ["model.conv2.weight", "conv.bias"]),
        ("lit.model.conv.weight", ["xconv.weight"]),
        ("conv.weight_quantized", ["conv.weighty"]),
        ("model.conv.weight_Q4", []),
        ("a/b/conv.weight:0", ["conv.weight2"]),
        ("conv.weight'", []),
    ],
)
def test_a_similar_name_is_taken_where_there_is_one(rng, name, others):
    net = network(rng, **dict.fromkeys((*others, name), (4, 6)))
    place = candidates.likely(net, "conv.weight", (4, 6))
    assert (place.layer.name, place.way) == (name, "similar name")


def test_a_wrapper_that_is_gone_is_similar_too(rng):
    net = network(rng, **{"conv.weight": (4, 6), "head": (4, 6)})
    assert candidates.likely(net, "model.conv.weight", (4, 6)).layer.name == "conv.weight"


def test_two_similar_names_or_none_tell_nothing(rng):
    net = network(rng, **{"a.w": (4, 6), "b.w": (4, 6), "onnx::MatMul_338": (4, 6)})
    assert candidates.likely(net, "w", (4, 6)) is None
    assert candidates.likely(net, "fc.weight", (4, 6)) is None
    assert candidates.likely(net, "a.w", (6, 4)) is None


def test_what_no_output_depends_on_is_no_place(rng):
    arrays = {n: rng.standard_normal((4, 6)) for n in ("w", "m.w", "v")}
    net = ArrayNetwork.of(arrays, w={"live": False}, v={"live": False})
    assert candidates.likely(net, "w", (4, 6)).layer.name == "m.w"
    assert described(candidates.everywhere(net, (4, 6))) == [("m.w", "")]
    assert candidates.in_layer(net, "v", (4, 6)) == []


def test_every_place_of_a_shape(rng):
    shapes = {"joined": (60, 6), "v": (20, 6), "turned": (6, 20), "qkv": (6, 60), "short": (19, 6)}
    net = network(rng, **shapes, b=(4,))
    found = candidates.everywhere(net, (20, 6))
    assert described(found) == [
        ("v", ""),
        ("joined", "rows 0 to 19"), ("joined", "rows 20 to 39"), ("joined", "rows 40 to 59"),
        ("turned", "transposed"),
        ("qkv", "columns 0 to 19, transposed"), ("qkv", "columns 20 to 39, transposed"),
        ("qkv", "columns 40 to 59, transposed"),
    ]  # fmt: skip
    w = net.weights
    expected = [w["v"], *np.split(w["joined"], 3), w["turned"].T,
                *(part.T for part in np.split(w["qkv"], 3, axis=1))]  # fmt: skip
    for place, values in zip(found, expected, strict=True):
        assert np.array_equal(place.of(w), values)
        assert not place.of(w).flags.writeable


def test_parts_of_unequal_size_are_read_from_the_end_too(rng):
    net = network(rng, qkv=(50, 6))
    assert described(candidates.everywhere(net, (20, 6))) == [
        ("qkv", "rows 0 to 19"), ("qkv", "rows 20 to 39"), ("qkv", "rows 30 to 49"),
    ]  # fmt: skip


def test_a_few_rows_more_do_not_hide_a_carrier(rng):
    net = network(rng, w=(22, 6))
    assert described(candidates.everywhere(net, (20, 6))) == [
        ("w", "rows 0 to 19"), ("w", "rows 1 to 20"), ("w", "rows 2 to 21"),
    ]  # fmt: skip


def test_a_vocabulary_is_no_joined_layer(rng):
    assert candidates.everywhere(network(rng, words=(400, 6)), (4, 6)) == []


def test_axes_of_one_entry_do_not_matter(rng):
    net = network(rng, conv=(4, 6, 1, 1), line=(4, 6, 1))
    for shape in ((4, 6), (4, 6, 1, 1), (4, 1, 6)):
        places = candidates.everywhere(net, shape)
        assert described(places) == [("conv", ""), ("line", "")]
        assert places[0].of(net.weights).shape == shape
        assert np.array_equal(places[0].of(net.weights).ravel(), net.weights["conv"].ravel())


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("shape", [(20, 3, 3, 3), (32, 20, 3, 3), (16, 16, 1, 1)])
def test_interleaved_channels_are_put_in_order(rng, block, shape):
    kernel = rng.standard_normal(shape)
    net = ArrayNetwork.of({"reorder": interleaved(kernel, block)}, reorder=ODD)
    found = [p for p in candidates.everywhere(net, shape) if p.block == block]
    assert len(found) == 1
    assert found[0].part == f"channels in blocks of {block} put in order"
    assert np.array_equal(found[0].of(net.weights), kernel)


@pytest.mark.parametrize("block", [8, 16])
def test_several_carriers_in_blocks_are_told_by_their_order(rng, block):
    """Kernels of few inputs and of many have one shape in blocks of 16, and are told apart."""
    shapes = [(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3), (32, 16, 1, 1)]
    kernels = {f"c{k}": rng.standard_normal(shape) for k, shape in enumerate(shapes)}
    stored = {f"reorder_{k}": interleaved(w, block) for k, w in enumerate(kernels.values())}
    net = ArrayNetwork.of(stored, **dict.fromkeys(stored, ODD))
    wanted = {name: kernel.shape for name, kernel in kernels.items()}
    ways = candidates.by_order_in_blocks(net, wanted, [])
    assert [{p.block for p in found.values()} for found in ways] == [{8}, {16}]
    right = ways[[8, 16].index(block)]
    for name, kernel in kernels.items():
        assert np.array_equal(right[name].of(net.weights), kernel)
    assert [p.way for p in right.values()] == ["shape", "order", "order", "shape"]
    assert candidates.by_order(net, wanted, []) == {}


@pytest.mark.parametrize("block", [8, 16])
def test_a_kernel_that_fills_no_whole_blocks_tells_their_size(rng, block):
    shape = (24, 16, 3, 3)
    stored = {
        "a": interleaved(rng.standard_normal(shape), block),
        "b": interleaved(rng.standard_normal((32, 16, 3, 3)), block),
    }
    net = ArrayNetwork.of(stored, a=ODD, b=ODD)
    (found,) = candidates.by_order_in_blocks(net, {"c": shape, "d": (32, 16, 3, 3)}, [])
    assert {p.block for p in found.values()} == {block}


def test_without_blocks_none_are_found(rng):
    net = network(rng, a=(16, 16, 3, 3))
    assert candidates.by_order_in_blocks(net, {"c": (16, 16, 3, 3)}, []) == []
    assert candidates.by_order_in_blocks(net, {}, []) == []


def test_not_more_is_read_than_is_bearable(rng, monkeypatch):
    places = candidates.everywhere(network(rng, **{f"w{i}": (4, 6) for i in range(9)}), (4, 6))
    monkeypatch.setattr(candidates, "MOST", 5)
    assert len(candidates.affordable(places)) == 5
    monkeypatch.setattr(candidates, "MOST_WEIGHTS", 50)
    assert len(candidates.affordable(places)) == 2
    monkeypatch.setattr(candidates, "MOST_WEIGHTS", 5)
    assert len(candidates.affordable(places)) == 1
    assert candidates.affordable([]) == []


def test_several_carriers_are_told_by_their_order(rng):
    net = network(rng, a=(4, 6), x=(4, 6), y=(4, 6), z=(2, 6))
    wanted = {"p": (4, 6), "q": (4, 6), "r": (2, 6), "s": (9, 9)}
    found = candidates.by_order(net, wanted, ["a"])
    assert {n: (p.layer.name, p.way) for n, p in found.items()} == {
        "p": ("x", "order"), "q": ("y", "order"), "r": ("z", "shape"),
    }  # fmt: skip
    assert candidates.by_order(net, {"p": (4, 6)}, ["a"]) == {}
    assert replace(found["p"], way="name") != found["q"]
