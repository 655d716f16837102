"""Channels are found again whatever their order, scale, sign and number; foreign ones are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnw_onnx.kit import channels, locating
from nnw_onnx.kit.alignment import TOLD, TOLD_WITH_SIGNS, aligned, likeness
from nnw_onnx.kit.dummies import without_dummies
from nnw_onnx.kit.scales import gains_of
from nnw_onnx.kit.strands import Order, Strands, as_it_is
from nnw_onnx.testing import ArrayNetwork
from nnw_onnx.vocabulary import HiddenAxis, Strand

A, B = 24, 32


def strands(*told):
    """Strands of "layer axis direction [start repeat block]"."""
    return tuple(
        Strand(layer, int(axis), direction, *map(int, more))
        for layer, axis, direction, *more in map(str.split, told)
    )


CHAIN = (
    HiddenAxis(
        A, strands("a 0 out", "a.bias 0 along", "b 1 in"),
        scalings=((1, 1, -1),), signs=((1, 1, 1),), resizable=True,
    ),
    HiddenAxis(
        B, strands("b 0 out", "b.bias 0 along", "c 1 in 0 1 4"),
        scalings=((1, 1, -1),), signs=((1, 1, 1),), resizable=True,
    ),
)  # fmt: skip
"""Two hidden axes; behind the second one each channel is four entries next to each other."""


def chain(rng, axes=CHAIN):
    network = ArrayNetwork.of(
        {
            "a": rng.standard_normal((A, 3, 3, 3)), "a.bias": rng.standard_normal(A),
            "b": rng.standard_normal((B, A, 3, 3)), "b.bias": rng.standard_normal(B),
            "c": rng.standard_normal((10, 4 * B)), "c.bias": rng.standard_normal(10),
        }
    )  # fmt: skip
    return replace(network, hidden_axes=axes)


def changed(network, weights):
    return replace(ArrayNetwork.of(weights), hidden_axes=network.hidden_axes)


def permuted(network, rng):
    """The network with all channels in other places, and the orders."""
    now, orders = dict(network.weights), []
    for axis in network.hidden_axes:
        orders.append(rng.permutation(axis.size))
        now |= channels.permuted(now, axis, orders[-1])
    return changed(network, now), orders


def scaled(network, rng, sigma=0.5):
    now = dict(network.weights)
    for axis in network.hidden_axes:
        for k in range(len(axis.scalings)):
            now |= channels.scaled(now, axis, np.exp(sigma * rng.standard_normal(axis.size)), k)
    return changed(network, now)


def turned(network, rng):
    now = dict(network.weights)
    for axis in network.hidden_axes:
        for flips in axis.signs:
            way = replace(axis, scalings=(flips,))
            now |= channels.scaled(now, way, rng.choice([-1.0, 1.0], axis.size), 0)
    return changed(network, now)


def noisy(network, rng, ratio):
    return changed(
        network,
        {n: w + ratio * w.std() * rng.standard_normal(w.shape) for n, w in network.weights.items()},
    )


def right(found, orders):
    """Share of channels that are matched with where they were put (Psi of Find the Lady)."""
    hits = [orders[k][one.order.index] == np.arange(one.axis.size) for k, one in found.items()]
    return np.concatenate(hits).mean()


def largest_error(found, network):
    return max(np.abs(found.weights(n) - w).max() for n, w in network.weights.items())


def test_a_permuted_network_is_put_back_bit_by_bit(rng):
    network = chain(rng)
    other, orders = permuted(network, rng)
    found = aligned(network, other)
    assert found.recovered
    assert right(found.matched, orders) == 1
    assert largest_error(found, network) == 0
    first = found.matched[0]
    assert first.moved == np.count_nonzero(orders[0] != np.arange(A))
    assert (first.missing, first.cosine) == (0, pytest.approx(1))
    assert 0.3 < first.margin < 1
    like = found.likeness["b"]
    assert (like.cosine, like.gap > TOLD) == (pytest.approx(1), True)


def test_scales_and_signs_are_undone_where_the_axis_allows_them(rng):
    network = chain(rng)
    other, orders = permuted(network, rng)
    other = turned(scaled(other, rng), rng)
    found = aligned(network, other)
    assert right(found.matched, orders) == 1
    assert largest_error(found, network) < 1e-3
    turned_back = sum((one.order.signs < 0).sum() for one in found.matched.values())
    assert turned_back == pytest.approx((A + B) / 2, abs=15)
    plain = tuple(replace(axis, scalings=(), signs=()) for axis in CHAIN)
    kept = aligned(replace(network, hidden_axes=plain), other)
    ratio = kept.weights("a")[:, 0] / network.weights["a"][:, 0]
    assert np.ptp(np.abs(ratio), axis=0).min() > 0.5


def test_factors_that_noise_explains_are_left(rng):
    network = chain(rng)
    found = aligned(network, noisy(network, rng, 0.3))
    assert all((one.order.factors == 1).all() for one in found.matched.values())
    assert all(one.moved == 0 for one in found.matched.values())


@pytest.mark.parametrize(("ratio", "least"), [(0.5, 1.0), (1, 1.0), (1.5, 0.9)])
def test_channels_are_found_under_noise(rng, ratio, least):
    network = chain(rng)
    other, orders = permuted(network, rng)
    found = aligned(network, scaled(noisy(other, rng, ratio), rng))
    assert found.recovered
    assert right(found.matched, orders) >= least


def test_a_pruned_network_is_put_back(rng):
    network = chain(rng)
    other, orders = permuted(network, rng)
    now = {}
    for name, w in other.weights.items():
        now[name] = np.where(np.abs(w) > np.quantile(np.abs(w), 0.9), w, 0)
    found = aligned(network, changed(network, now))
    assert right(found.matched, orders) == 1


def test_what_is_foreign_is_never_recovered(rng):
    found = [aligned(chain(rng), chain(rng)) for _ in range(12)]
    found += [aligned(stage(rng), stage(rng)) for _ in range(4)]
    assert {one.wanted for one in found} == {TOLD, TOLD_WITH_SIGNS}
    assert not any(one.recovered for one in found)
    assert max(one.gap / one.wanted for one in found) < 0.8


def test_a_network_with_nothing_to_align_is_told_by_its_layers(rng):
    one, other = (ArrayNetwork.of({"w": rng.standard_normal((16, 40))}) for _ in range(2))
    assert aligned(one, noisy(one, rng, 0.2)).recovered
    assert not aligned(one, other).recovered


def with_channels_added(network, number, incoming, outgoing):
    """The network with more channels: what makes them, and what takes them in, by strand."""
    axis, now = network.hidden_axes[number], dict(network.weights)
    for strand in axis.strands:
        parts = channels.by_channel(now[strand.layer], strand, axis.size)
        more = (outgoing if strand.direction == "in" else incoming)(parts)
        total = np.concatenate([parts, more])
        shape = list(now[strand.layer].shape)
        shape[strand.axis] = len(total) * strand.block
        rest = [n for k, n in enumerate(shape) if k != strand.axis]
        flat = total.transpose(1, 0, 2, *range(3, total.ndim)).reshape(-1, *rest)
        now[strand.layer] = np.moveaxis(flat, 0, strand.axis)
    return changed(network, now)


def test_dummies_are_taken_out(rng):
    """Nothing behind; a clique of three that adds up to nothing; a channel split in two."""
    network = chain(rng)
    other, orders = permuted(network, rng)
    silent = with_channels_added(other, 1, lambda p: p[:2] + 1.0, lambda p: 0 * p[:2])
    found = aligned(network, silent)
    assert found.sizes[1] == B
    assert (found.removed[1].merged, found.removed[1].dropped) == (0, 2)
    assert largest_error(found, network) == 0

    def clique(parts):
        drawn = np.resize(rng.standard_normal(parts[0].size), parts[:1].shape)
        return np.concatenate([drawn, drawn, drawn])

    def behind(parts):
        one, two = (rng.standard_normal(parts[:1].shape) for _ in range(2))
        return np.concatenate([one, two, -one - two])

    found = aligned(network, with_channels_added(other, 0, clique, behind))
    assert (found.sizes[0], found.removed[0].merged, found.removed[0].dropped) == (A, 2, 1)
    assert largest_error(found, network) < 1e-12
    split = dict(other.weights)
    split["b"] = split["b"].copy()
    split["b"][:, 5] *= 0.25
    split = with_channels_added(
        changed(network, split), 0, lambda p: 2 * p[5:6], lambda p: 1.5 * p[5:6]
    )
    found = aligned(network, split)
    assert found.removed[0].merged == 1
    assert largest_error(found, network) < 1e-12
    assert right(found.matched, orders) == 1


def test_equal_channels_of_the_network_itself_are_left(rng):
    network = chain(rng)
    now = dict(network.weights)
    for name in ("a", "a.bias"):
        now[name] = now[name].copy()
        now[name][1] = now[name][0]
    twin = changed(network, now)
    values, sizes, removed = without_dummies(
        Strands.of(twin, twin.hidden_axes), twin.weights, {0: A, 1: B}
    )
    assert (sizes, removed) == ({0: A, 1: B}, {})
    assert values["b"] is twin.weights["b"]


def test_channels_that_are_gone_are_zeros(rng):
    network = chain(rng)
    gone = [3, 7, 20]
    now = dict(network.weights)
    for strand in CHAIN[0].strands:
        now[strand.layer] = np.delete(now[strand.layer], gone, strand.axis)
    small = [replace(CHAIN[0], size=A - 3), CHAIN[1]]
    order = rng.permutation(A - 3)
    now |= channels.permuted(now, small[0], order)
    found = aligned(network, changed(network, now))
    assert found.matched[0].missing == 3
    assert np.flatnonzero(found.matched[0].order.index < 0).tolist() == gone
    for name in ("a", "b"):
        back = np.moveaxis(found.weights(name), 0 if name == "a" else 1, 0)
        own = np.moveaxis(network.weights[name], 0 if name == "a" else 1, 0)
        assert (back[gone] == 0).all()
        np.testing.assert_array_equal(np.delete(back, gone, 0), np.delete(own, gone, 0))


STAGE = (
    HiddenAxis(A, strands("stem 0 out", "p 1 in", "q 0 out", "r 1 in", "s 0 out", "head 1 in")),
    HiddenAxis(B, strands("p 0 out", "q 1 in")),
    HiddenAxis(B, strands("r 0 out", "s 1 in")),
)


def stage(rng):
    """A residual stage: two blocks between a stem and a head."""
    network = ArrayNetwork.of(
        {
            "stem": rng.standard_normal((A, 3, 2, 2)),
            "p": rng.standard_normal((B, A, 3, 3)), "q": rng.standard_normal((A, B, 3, 3)),
            "r": rng.standard_normal((B, A, 3, 3)), "s": rng.standard_normal((A, B, 3, 3)),
            "head": rng.standard_normal((10, A)),
        }
    )  # fmt: skip
    return replace(network, hidden_axes=STAGE)


def test_a_residual_axis_has_one_order_that_all_its_layers_tell_together(rng):
    network = stage(rng)
    other, orders = permuted(network, rng)
    heavy = dict(other.weights)
    heavy["stem"] = heavy["stem"] + 4 * rng.standard_normal(heavy["stem"].shape)
    found = aligned(network, changed(network, heavy))
    assert right(found.matched, orders) == 1


def test_layers_without_names_are_found_by_what_they_are_like(rng):
    network = stage(rng)
    other, orders = permuted(network, rng)
    new = {"stem": "0", "p": "9", "q": "x", "r": "1", "s": "w", "head": "z"}
    other = scaled(noisy(other, rng, 0.05), rng)
    found = aligned(network, changed(network, {new[n]: w for n, w in other.weights.items()}))
    assert {n: p.layer.name for n, p in found.places.items()} == new
    assert {p.way for p in found.places.values()} == {"content"}
    assert right(found.matched, orders) == 1


def test_exchanged_names_are_not_believed(rng):
    network = stage(rng)
    other, orders = permuted(network, rng)
    names = {"p": "r", "r": "p", "q": "s", "s": "q"}
    mixed = {names.get(n, n): w for n, w in other.weights.items()}
    found = aligned(network, changed(network, {n: mixed[n] for n in network.weights}))
    assert {n: found.places[n].layer.name for n in names} == names
    assert right(found.matched, orders) == 1


def test_one_layer_that_was_put_elsewhere_is_found_when_the_others_are_in_order(rng):
    network = stage(rng)
    other, orders = permuted(network, rng)
    now = {**other.weights, "p": rng.standard_normal((B, A, 3, 3)), "new": other.weights["p"]}
    found = aligned(network, changed(network, now))
    assert (found.places["p"].layer.name, found.places["p"].way) == ("new", "aligned")
    assert right(found.matched, orders) == 1


def test_joined_and_turned_layers_are_found(rng):
    wide = rng.standard_normal((3, 16, 40))
    network = ArrayNetwork.of({"q": wide[0], "k": wide[1], "v": wide[2]})
    joined = ArrayNetwork.of({"qkv": np.concatenate(list(wide)).T.copy()})
    found = aligned(network, joined)
    parts = {n: p.part for n, p in found.places.items()}
    assert parts == {
        "q": "columns 0 to 15, transposed", "k": "columns 16 to 31, transposed",
        "v": "columns 32 to 47, transposed",
    }  # fmt: skip
    assert largest_error(found, network) == 0


def test_layers_that_must_not_decide_take_no_part(rng):
    """The order is the same whatever is in them, and they are put into it."""
    network = stage(rng)
    other, orders = permuted(network, rng)
    strange = changed(network, {**other.weights, "p": rng.standard_normal((B, A, 3, 3))})
    one, two = (aligned(network, x, unread=("p",)) for x in (other, strange))
    for k in one.matched:
        np.testing.assert_array_equal(one.matched[k].order.index, two.matched[k].order.index)
    assert right(one.matched, orders) == 1
    np.testing.assert_array_equal(one.weights("p"), network.weights["p"])
    alone = aligned(network, other, unread=("p", "q"))
    assert 1 not in alone.matched
    assert not alone.whole("p")


def test_entries_of_joined_strands_move_together(rng):
    """Two axes one behind the other, one of which has another size in the other network."""
    axes = (
        HiddenAxis(3, strands("a 0 out", "c 1 in 1 2 2")),
        HiddenAxis(4, strands("b 0 out", "c 1 in 13")),
    )
    network = replace(
        ArrayNetwork.of(
            {
                "a": rng.standard_normal((3, 5)), "b": rng.standard_normal((4, 5)),
                "c": rng.standard_normal((2, 18)),
            }
        ),
        hidden_axes=axes,
    )  # fmt: skip
    told = Strands.of(network, axes)
    sizes = {0: 2, 1: 4}
    assert told.shape("c", sizes) == (2, 14)
    there = np.arange(28.0).reshape(2, 14)
    orders = {
        0: as_it_is(axes[0], np.array([1, -1, 0])),
        1: as_it_is(axes[1], np.array([3, 2, 1, 0])),
    }
    now = told.ordered("c", there, orders, sizes)
    expected = [0, 3, 4, None, None, 1, 2, 7, 8, None, None, 5, 6, 12, 11, 10, 9, 13]
    assert now[0].tolist() == [0.0 if k is None else float(k) for k in expected]
    assert now[1].tolist() == [0.0 if k is None else 14.0 + k for k in expected]


def test_what_was_done_is_divided_out_strand_by_strand():
    axis = HiddenAxis(2, strands("a 0 out", "n 0 along", "b 1 in"), ((1, 2, -1),), ((1, 0, 1),))
    order = Order(np.array([0, 1]), np.array([[2.0, 3.0]]), np.array([[1.0, -1.0]]))
    assert [order.done_to(axis, k).tolist() for k in range(3)] == [
        [2, -3], [4, 9], [0.5, pytest.approx(-1 / 3)],
    ]  # fmt: skip


def test_gains_are_least_squares_and_noise_is_none(rng):
    own = rng.standard_normal((40, 200))
    gains = np.exp(0.5 * rng.standard_normal(40))
    np.testing.assert_allclose(gains_of(own, own * gains[:, None]), gains, rtol=1e-6)
    noisy = own * gains[:, None] + 0.3 * rng.standard_normal(own.shape)
    expected = [
        np.linalg.lstsq(a[:, None], b, rcond=None)[0][0] for a, b in zip(own, noisy, strict=True)
    ]
    np.testing.assert_allclose(gains_of(own, noisy), expected, rtol=1e-7)
    assert (gains_of(own, own + rng.standard_normal(own.shape)) == 1).all()


def test_likeness_is_the_mean_cosine_of_filters(rng):
    one, other = rng.standard_normal((2, 6, 50))
    told = likeness(one, other)
    by_hand = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(one, other, strict=True)
    ]
    assert told.cosine == pytest.approx(np.mean(by_hand))


def test_sizes_are_told_by_most_layers(rng):
    network = stage(rng)
    assert locating.sizes_of(Strands.of(network, STAGE), network) == {0: A, 1: B, 2: B}
    now = dict(network.weights)
    now["p"], now["q"] = now["p"][:20], now["q"][:, :20]
    small = changed(network, now)
    assert locating.sizes_of(Strands.of(network, STAGE), small) == {0: A, 1: 20, 2: B}
    unnamed = changed(network, {f"_{k}": w for k, w in enumerate(now.values())})
    assert locating.sizes_of(Strands.of(network, STAGE), unnamed) == {0: A, 1: 20, 2: B}


HEAD = (
    HiddenAxis(
        16, strands("q 0 out 0 2", "k 0 out 0 2"), signs=((1, 1),), mixings=(1, -1),
    ),
    HiddenAxis(B, strands("up 0 out", "down 1 in"), scalings=((1, -1),)),
)  # fmt: skip
"""Query and key of two heads, whose scores are products of both; and two layers beside."""


def head(rng, ratio=0.0):
    shapes = {"q": (32, 96), "k": (32, 96), "up": (B, 96), "down": (96, B)}
    return replace(
        ArrayNetwork.of({n: rng.standard_normal(s) for n, s in shapes.items()}), hidden_axes=HEAD
    )


def test_a_basis_within_heads_is_undone(rng):
    network = head(rng)
    other, _ = permuted(network, rng)
    turned_over = rng.standard_normal((16, 16))
    other = changed(
        network, {**other.weights, **channels.mixed(other.weights, HEAD[0], turned_over)}
    )
    scores = [
        np.einsum("hcd,hce->hde", *(n.weights[x].reshape(2, 16, 96) for x in "qk"))
        for n in (network, other)
    ]
    np.testing.assert_allclose(*scores, atol=1e-9)
    found = aligned(network, other)
    assert found.matched[0].mixed
    assert found.matched[0].told
    assert not found.matched[1].mixed
    assert found.recovered
    assert largest_error(found, network) < 1e-9


def test_a_basis_is_undone_under_noise_that_it_does_not_enlarge(rng):
    network = head(rng)
    rotation = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    mixed = {**network.weights, **channels.mixed(network.weights, HEAD[0], rotation)}
    found = aligned(network, noisy(changed(network, mixed), rng, 0.3))
    assert found.matched[0].mixed
    error = found.weights("q") - network.weights["q"]
    assert error.std() == pytest.approx(0.3, abs=0.05)
    assert found.matched[0].cosine > 0.9


def test_a_basis_is_not_seen_where_chance_explains_as_much(rng):
    for _ in range(10):
        found = aligned(head(rng), head(rng))
        assert not any(one.mixed for one in found.matched.values())
        assert not found.recovered


def test_a_basis_of_more_channels_than_weights_is_never_told(rng):
    axis = HiddenAxis(12, strands("v 0 out", "o 1 in"), mixings=(1, -1))
    network = ArrayNetwork.of(
        {"v": rng.standard_normal((12, 8)), "o": rng.standard_normal((8, 12))}
    )
    network = replace(network, hidden_axes=(axis,))
    mixed = channels.mixed(network.weights, axis, rng.standard_normal((12, 12)))
    assert not aligned(network, changed(network, mixed)).matched[0].mixed
