"""Modifications that leave the function of real graphs, and the removal of whole channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnw_onnx import plugins
from nnw_onnx.errors import NotApplicableError
from nnw_onnx.graph import open_network
from nnw_onnx.testing import small_network
from nnw_onnx.testing.array_bench import ArrayBench
from nnw_onnx.vocabulary import Modification, Spec

from ..graph.handmade import values  # noqa: TID252
from ..graph.test_channel_actions import _heads, _normalised  # noqa: TID252
from ..graph.test_channels import answers, distance, node, opened  # noqa: TID252

SHIPPED = sorted((Path(__file__).parents[2] / "models").glob("*/*.onnx"))
KINDS = ("zero", "clique", "split")


def modified(network, name, seed=0, **options):
    modification = plugins.create(Modification, Spec(name, options))
    rng = np.random.Generator(np.random.PCG64(seed))
    return modification.modify(network, ArrayBench(), rng)


def attention(path):
    return _heads(path, stacked=True)


def normalised(path):
    return _normalised(path, "Sigmoid")


STEPS = [
    ("permutation", attention, {}), ("scaling", attention, {}), ("sign-flips", attention, {}),
    ("mixed-bases", attention, {}), ("permutation", normalised, {}), ("scaling", normalised, {}),
    ("sign-flips", normalised, {}), *(("dummy-neurons", normalised, {"kind": k}) for k in KINDS),
    ("dummy-neurons", normalised, {"kind": "clique", "k": 3, "share": 100}),
    ("dummy-neurons", normalised, {"kind": "split", "k": 4, "share": 50}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "options"), STEPS)
def test_answers_stay(tmp_path, name, make, options):
    network = make(tmp_path / "m.onnx")
    done = modified(network, name, **options).network
    assert done.digest != network.digest
    again = modified(network, name, **options).network
    assert again.digest == done.digest
    assert modified(network, name, seed=1, **options).network.digest != done.digest
    assert distance(answers(network), answers(done)) < 1e-5


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_networks_answer_the_same(path):
    network = open_network(path)
    before = answers(network)
    for name, options in [("scaling", {}), *(("dummy-neurons", {"kind": k}) for k in KINDS)]:
        assert distance(before, answers(modified(network, name, **options).network)) < 1e-5


def test_factors_are_log_normal():
    weights = small_network().weights["conv"]
    logs = [
        np.log(modified(small_network(), "scaling", seed, std=0.3).network.weights["conv"]
               / weights)[:, 0, 0, 0]
        for seed in range(40)
    ]  # fmt: skip
    found = np.concatenate(logs)
    assert abs(found.mean()) < 4 * 0.3 / np.sqrt(found.size)
    assert found.std() == pytest.approx(0.3, rel=0.1)


def test_half_of_the_signs_change(tmp_path):
    network = normalised(tmp_path / "m.onnx")
    changed = modified(network, "sign-flips").network.weights["w1"] / network.weights["w1"]
    rows = changed[:, 0, 0, 0]
    assert sorted(rows.tolist()) == [-1, -1, -1, 1, 1, 1]
    assert np.array_equal(changed, np.broadcast_to(rows[:, None, None, None], changed.shape))


def test_bases_are_rotated_head_by_head(tmp_path):
    network = attention(tmp_path / "m.onnx")
    old = network.weights["w"]  # (out, in): queries, keys and values of three heads
    new = modified(network, "mixed-bases").network.weights["w"]
    for k in range(9):
        block = slice(4 * k, 4 * k + 4)
        # Of rotated rows the Gram matrix over them stays, and with it that of their columns.
        np.testing.assert_allclose(old[block].T @ old[block], new[block].T @ new[block], atol=1e-5)
        assert not np.allclose(old[block], new[block], atol=1e-2)


@pytest.mark.parametrize(
    ("options", "more"),
    [({"kind": "zero"}, 5), ({"kind": "clique"}, 6), ({"kind": "split"}, 5),
     ({"kind": "clique", "k": 4}, 8), ({"kind": "split", "k": 3}, 6)],
)  # fmt: skip
def test_as_many_dummies_as_are_asked_for(options, more):
    """10 % of the 48 channels of the first layer, in whole cliques and splits."""
    done = modified(small_network(), "dummy-neurons", **options)
    rows, plain = done.network.weights["conv"], small_network().weights["conv"]
    assert len(rows) == 48 + more
    assert (
        done.facts["dummies"] == sum(len(done.network.weights[n]) for n in ("conv", "middle")) - 88
    )
    _, counts = np.unique(rows.reshape(len(rows), -1), axis=0, return_counts=True)
    known = [any(np.array_equal(row, one) for one in plain) for row in rows]
    if options["kind"] == "zero":
        assert known.count(False) == more
        assert (counts == 1).all()
        used = done.network.weights["head"].any(axis=0)  # dummies of the second layer take in any
        taken_in = done.network.weights["middle"][used].any(axis=(0, 2, 3))
        idle = [not one for one in taken_in]
        assert idle == [not one for one in known]
    else:
        assert all(known)
        k = options.get("k", 2)
        copies = more // k if options["kind"] == "clique" else more // (k - 1)
        assert sorted(counts)[-copies:] == [k + (options["kind"] == "clique")] * copies
    assert known[-more:] != [False] * more


@pytest.mark.parametrize("share", [25, 50, 99])
def test_channels_of_least_magnitude_are_removed(share):
    plain = small_network()
    done = modified(plain, "structured-pruning", intensity=share).network
    magnitudes = np.abs(plain.weights["conv"]).sum(axis=(1, 2, 3))
    removed = min(47, round(48 * share / 100))
    kept = np.sort(np.argsort(magnitudes)[removed:])
    assert np.array_equal(done.weights["conv"], plain.weights["conv"][kept])
    # The second layer has lost those channels, and some of its own.
    left = plain.weights["middle"][:, kept]
    assert all(any(np.array_equal(row, one) for one in left) for row in done.weights["middle"])
    assert done.weights["middle"].shape[1] == 48 - removed
    assert len(done.weights["middle"]) == max(1, 40 - round(40 * share / 100))
    assert done.weights["head"].shape == (10, len(done.weights["middle"]))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_pruned_networks_run(path, tmp_path):
    network = open_network(path)
    done = modified(network, "structured-pruning", intensity=30).network
    assert done.weight_count < 0.7 * network.weight_count
    done.save(tmp_path / "pruned.onnx")
    assert [a.shape for a in answers(open_network(tmp_path / "pruned.onnx"))] == [
        a.shape for a in answers(network)
    ]


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("permutation", {}, "channels that the graph shows to be free to change places"),
        ("scaling", {}, "channels that the graph shows to pass positive factors on"),
        ("sign-flips", {}, "channels that the graph shows to pass signs on"),
        ("mixed-bases", {}, "channels that the graph shows to pass linear operators only"),
        ("dummy-neurons", {}, "channels that the graph shows to be free in number"),
        ("structured-pruning", {"intensity": 50}, "channels that the graph shows to be free in nu"),
    ],
)
def test_where_nothing_is_proved_nothing_is_done(tmp_path, name, options, words):
    network = opened(
        tmp_path / "m.onnx", [node("MatMul", "x w", "y")], {"w": values(3, 4)}, {"x": [1, 3]}
    )
    with pytest.raises(
        NotApplicableError, match=f"{name}: expected {words}.*, got none; .*leave it"
    ):
        modified(network, name, **options)


REAL = {
    "cifar10/vnn21_resnet_4b.onnx": ("permutation", "scaling", "dummy-neurons"),
    "cifar10/vit_ibp_3_3_8.onnx": ("permutation", "scaling", "sign-flips", "mixed-bases",
                                   "dummy-neurons"),
    "imagenet/stm32_mobilenet_v2_128_0.5.onnx": ("permutation", "scaling", "sign-flips",
                                                "mixed-bases", "dummy-neurons"),
    "ocr/ch_ppocr_mobile_v2.0_cls_infer.onnx": ("permutation", "scaling", "sign-flips",
                                               "dummy-neurons"),
    "transformer/gpt2_past_tiny.onnx": ("permutation",),
}  # fmt: skip


@pytest.mark.shared_data
@pytest.mark.parametrize("model", REAL)
def test_real_networks_answer_the_same(shared_data, model):
    from ..benchmarks.preserving_on_models import (  # noqa: TID252
        answers,
        difference,
        feeds,
        predictions,
    )

    network = open_network(shared_data / "models" / model)
    given = feeds(network)
    before = answers(network, given)
    for name in REAL[model]:
        done = modified(network, name).network
        after = answers(done, given)
        assert done.digest != network.digest
        assert difference(before, after) < 1e-4
        for old, new in zip(predictions(before), predictions(after), strict=True):
            assert np.array_equal(old, new)
