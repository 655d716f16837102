"""The mark is read back where a key is saved, a training ends and a model is exported."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest

import nnw_onnx as nnw
from nnw_onnx.vocabulary import Payload

from .small_networks import digits
from .test_callbacks import STRONG, Classified, fit, hugging_face, items, lightning, module, network

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - needs torch
from torch.nn import functional  # noqa: E402 - needs torch

from nnw_onnx_torch import (  # noqa: E402 - needs torch
    TorchNetwork,
    Watermark,
    export,
    reading_back,
)

PAYLOAD = Payload.from_hex("c0de")
EXAMPLES = torch.from_numpy(digits().inputs[:4])


def put_in(model: nn.Module, mark: Watermark) -> None:
    """The penalty alone, until every Symbol is right; nothing else is learnt."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        mark.penalty().backward()
        optimizer.step()
    assert mark.symbol_error_rate() == 0


def marked(make: Any = network) -> tuple[Any, Watermark]:
    """A model with a mark in it."""
    model = make()
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    put_in(model, mark)
    return model, mark


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Watermark, Any]:
    """A model with a mark in it, and its file; nothing is warned of."""
    model, mark = marked()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        file = export(model, EXAMPLES, tmp_path_factory.mktemp("marked") / "model.onnx")
        mark.save_key(tmp_path_factory.mktemp("key") / "key.npz")
    return model, mark, file.network


def test_a_key_is_saved_with_a_word_about_the_mark(tmp_path: Path) -> None:
    model = network()
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    fresh = copy.deepcopy(model.state_dict())
    with pytest.warns(UserWarning, match=r"expected all 16 symbols .* wrong ones .*; train longer"):
        mark.save_key(tmp_path / "early.npz")
    assert nnw.load_key(tmp_path / "early.npz").payload == PAYLOAD
    put_in(model, mark)
    assert mark.check() is None
    model.load_state_dict(fresh)
    with pytest.warns(UserWarning, match="only 0 were wrong before: other weights were put back"):
        mark.save_key(tmp_path / "late.npz")


def test_an_export_of_weights_that_were_put_back(tmp_path: Path) -> None:
    model, mark = marked()
    model.load_state_dict(network().state_dict())
    with pytest.warns(UserWarning, match="only 0 were wrong before: other weights were put back"):
        export(model, EXAMPLES, tmp_path / "restored.onnx")
    assert mark.symbol_error_rate() > 0


def test_another_object_than_that_of_the_mark_is_noticed(exported: Any) -> None:
    model, _, file = exported
    unmarked = file.with_weights(TorchNetwork(network()).weights)
    for other in (network(), torch.optim.swa_utils.AveragedModel(network()).module):
        with pytest.warns(UserWarning, match="expected the object on which a mark was made"):
            reading_back.check(other, unmarked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading_back.check(copy.deepcopy(model), file)
        reading_back.check(nn.Linear(4, 4), unmarked)  # nothing to do with any mark


def test_copies_of_several_recipients_are_not_mixed_up(exported: Any) -> None:
    """Each has a mark of its own: the others' are not missed."""
    _, _, file = exported
    model = network(1)
    mark = Watermark(model, PAYLOAD, seed=2, options=STRONG)
    put_in(model, mark)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading_back.check(model, file.with_weights(TorchNetwork(model).weights))


def test_a_mark_made_on_a_model_around_the_exported_one(exported: Any) -> None:
    """As on a LightningModule, whose `lit.model` is exported: names differ, values do not."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

    model, mark = marked(Around)
    assert mark.key.layers == ("net.2.weight",)
    file = exported[2].with_weights(TorchNetwork(model.net).weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reading_back.check(model.net, file)
    with pytest.warns(UserWarning, match=r"watermark: expected every symbol to be read from"):
        reading_back.check(model.net, exported[2])


def test_a_forward_that_computes_with_other_weights_is_noticed(tmp_path: Path) -> None:
    """The parameter holds the mark; what arrives at the convolution does not."""

    class Signed(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return functional.conv2d(images, self.weight * self.signs, self.bias)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), Signed(16, 32, 3), nn.ReLU())
    model[2].register_buffer("signs", torch.sign(torch.randn(1, 16, 3, 3)))
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    put_in(model, mark)
    with pytest.warns(UserWarning, match=r"watermark|carrier"):
        export(model, EXAMPLES, tmp_path / "signed.onnx")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lightning_tells_of_weights_put_back_at_the_end(tmp_path: Path) -> None:
    package = lightning("lightning.pytorch")
    from nnw_onnx_torch import WatermarkCallback

    model = module(package)
    first = copy.deepcopy(model.state_dict())

    class PutBack(package.Callback):  # type: ignore[misc, name-defined]
        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.load_state_dict(first)

    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    both = [WatermarkCallback(mark), PutBack()]
    with pytest.warns(UserWarning, match="only 0 were wrong before"):
        fit(package, model, both, tmp_path, max_epochs=4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_tells_of_the_best_checkpoint_put_back(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="an optional package")
    from nnw_onnx_torch import HuggingFaceCallback

    model = Classified()
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    with pytest.warns(UserWarning, match="wrong before: other weights were put back"):
        hugging_face(
            model, items(), HuggingFaceCallback(mark), tmp_path, eval_strategy="epoch",
            save_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="eval_loss",
            greater_is_better=True, num_train_epochs=3, learning_rate=6e-4,
            per_device_train_batch_size=128, evaluated=items()[:32],
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_was_trained_with_bf16_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="an optional package")
    from nnw_onnx_torch import HuggingFaceCallback

    model = Classified()
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    hugging_face(model, items(), HuggingFaceCallback(mark), tmp_path, bf16=True)
    around = vars(model)["forward"]
    exported = export(model, {"pixel_values": EXAMPLES}, tmp_path / "model.onnx")
    assert exported.max_difference < 1e-5
    assert vars(model)["forward"] is around
    assert nnw.verify(exported.network, mark.claim).errors == 0


def test_export_within_autocast_and_of_a_compiled_model(tmp_path: Path) -> None:
    model, mark = marked()
    model.compile()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        exported = export(nn.DataParallel(model), EXAMPLES, tmp_path / "model.onnx")
    assert exported.max_difference < 1e-5
    assert nnw.verify(exported.network, mark.claim).errors == 0
