"""Callbacks of Lightning and transformers: short trainings, and what they refuse."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnw_onnx.errors import TrainingError
from nnw_onnx.vocabulary import Additions, Moment, Payload

from .small_networks import digits

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - needs torch
from torch.nn import functional  # noqa: E402 - needs torch

from nnw_onnx_torch.watermark import Watermark  # noqa: E402 - needs torch

PAYLOAD = Payload.from_hex("c0de")
STRONG = {"strength": 0.1}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def data() -> torch.utils.data.TensorDataset:
    given = digits()
    return torch.utils.data.TensorDataset(
        torch.from_numpy(given.inputs), torch.from_numpy(given.labels)
    )


def lightning(name: str) -> Any:
    return pytest.importorskip(name, reason="an optional package")


def module(package: Any) -> Any:
    class Classifier(package.LightningModule):  # type: ignore[misc, name-defined]
        """A usual LightningModule that knows nothing of watermarks."""

        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.sizes: list[int] = []

        def training_step(self, batch: Any, index: int) -> Any:
            inputs, labels = batch
            self.sizes.append(len(inputs))
            return functional.cross_entropy(self.net(inputs), labels)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    return Classifier()


def fit(package: Any, model: Any, callback: Any, folder: Path, **how: Any) -> Any:
    loader = torch.utils.data.DataLoader(data(), batch_size=64, shuffle=True)
    trainer = package.Trainer(
        **{"max_epochs": 5, **how}, accelerator="cpu", logger=False,
        callbacks=callback if isinstance(callback, list) else [callback],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(model, loader)
    return trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_uchida_in_lightning(tmp_path: Path, name: str) -> None:
    package = lightning(name)
    from nnw_onnx_torch import WatermarkCallback

    model = module(package)
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    assert mark.key.layers == ("net.2.weight",)
    trainer = fit(package, model, WatermarkCallback(mark), tmp_path)
    assert mark.symbol_error_rate() == 0
    assert trainer.callback_metrics["watermark/symbol_error_rate"] == 0
    assert 0 < float(trainer.callback_metrics["watermark/penalty"]) < 1


@pytest.mark.filterwarnings("ignore")
def test_adi_in_lightning(tmp_path: Path) -> None:
    package = lightning("lightning.pytorch")
    from nnw_onnx_torch import WatermarkCallback

    model = module(package)
    mark = Watermark(model.net, PAYLOAD, "adi", seed=1, inputs=digits().inputs[:50], classes=10)
    fit(package, model, WatermarkCallback(mark), tmp_path, max_epochs=12)
    assert model.sizes[0] == 72
    assert mark.symbol_error_rate() == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", [{}, {"accumulate_grad_batches": 4}, {"precision": "bf16-mixed"}])
def test_the_penalty_comes_once_a_step(tmp_path: Path, how: dict[str, Any]) -> None:
    """Without learning anything else: each step moves the carrier by -rate * gradient."""
    package = lightning("lightning.pytorch")
    from nnw_onnx_torch import WatermarkCallback

    class Idle(type(module(package))):  # type: ignore[misc]
        def training_step(self, batch: Any, index: int) -> Any:
            return functional.cross_entropy(self.net(batch[0]), batch[1]) * 0

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05)

    model = Idle()
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    (name,) = mark.key.layers
    expected = model.get_parameter(name).detach().clone().double().numpy()
    steps = 15 if not how.get("accumulate_grad_batches") else 4  # 899 samples, 15 batches
    penalty = mark.method.additions(mark.network, PAYLOAD, mark.key).penalty
    for _ in range(steps):
        none: Any = np.zeros(0, bool)
        found = penalty(Moment({name: expected}, {}, None, none, {}, 0, lambda w: w))
        expected = expected - 0.05 * found.weights[name]
    fit(package, model, WatermarkCallback(mark), tmp_path, max_epochs=1, **how)
    found = model.get_parameter(name).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["lightning", "transformers"])
def test_weights_that_a_method_keeps_stay(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnw_onnx.methods.uchida import Uchida

    fixed = np.arange(5120).reshape(10, 512) % 2 == 0
    name = "net.5.weight"
    monkeypatch.setattr(Uchida, "additions", lambda *given: Additions(fixed={name: fixed}))
    if where == "lightning":
        package = lightning("lightning.pytorch")
        from nnw_onnx_torch import WatermarkCallback

        model: Any = module(package)
        mark = Watermark(model, PAYLOAD, seed=1)
        before = mark.network.weights[name]
        fit(package, model, WatermarkCallback(mark), tmp_path, max_epochs=1)
    else:
        pytest.importorskip("transformers", reason="an optional package")
        from nnw_onnx_torch import HuggingFaceCallback

        model = Classified()
        mark = Watermark(model, PAYLOAD, seed=1)
        before = mark.network.weights[name]
        hugging_face(model, items(), HuggingFaceCallback(mark), tmp_path, num_train_epochs=1)
    after = mark.network.weights[name]
    assert np.array_equal(after[fixed], before[fixed])
    assert np.mean(after[~fixed] != before[~fixed]) > 0.5


def test_a_batch_that_cannot_be_extended() -> None:
    lightning("lightning.pytorch")
    from nnw_onnx_torch import WatermarkCallback

    mark = Watermark(network(), PAYLOAD, "adi", seed=1, inputs=digits().inputs[:50], classes=10)
    batch = (torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(TrainingError) as caught:
        WatermarkCallback(mark).on_train_batch_start(None, None, batch, 0)
    assert str(caught.value) == (
        "batch: expected a list or a mapping, got a tuple; extend the data set with "
        "Watermark.extend_dataset and set extend_batches=False"
    )
    WatermarkCallback(mark, extend_batches=False).on_train_batch_start(None, None, batch, 0)
    named = {"x": batch[0], "y": batch[1]}
    WatermarkCallback(mark, batch_keys=("x", "y")).on_train_batch_start(None, None, named, 0)
    assert len(named["x"]) == len(named["y"]) == 10


def items() -> list[dict[str, Any]]:
    given = digits()
    return [
        {"pixel_values": torch.from_numpy(x), "labels": int(y)}
        for x, y in zip(given.inputs, given.labels, strict=True)
    ]


class Classified(nn.Module):
    """A model as the Trainer wants it: arguments by name, loss and logits in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, pixel_values: Any, labels: Any = None) -> Any:
        logits = self.net(pixel_values)
        if labels is None:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def hugging_face(
    model: Any, dataset: Any, callback: Any, folder: Path, evaluated: Any = None, **how: Any
) -> Any:
    package = pytest.importorskip("transformers", reason="an optional package")
    arguments = package.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True,
        **{"num_train_epochs": 5, "per_device_train_batch_size": 64, "learning_rate": 3e-3,
           "save_strategy": "no", "logging_strategy": "no", **how},
    )  # fmt: skip
    trainer = package.Trainer(
        model, arguments, train_dataset=dataset, callbacks=[callback], eval_dataset=evaluated
    )
    trainer.train()
    return trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", [{}, {"gradient_accumulation_steps": 2}, {"max_grad_norm": 0.0}])
def test_uchida_in_transformers(tmp_path: Path, how: dict[str, Any]) -> None:
    pytest.importorskip("transformers", reason="an optional package")
    from nnw_onnx_torch import HuggingFaceCallback

    model = Classified()
    mark = Watermark(model, PAYLOAD, seed=1, options=STRONG)
    trainer = hugging_face(model, items(), HuggingFaceCallback(mark), tmp_path, **how)
    assert mark.symbol_error_rate() == 0
    noted = [e for e in trainer.state.log_history if "watermark/symbol_error_rate" in e]
    assert len(noted) == 5
    assert noted[-1]["watermark/symbol_error_rate"] == 0
    assert 0 < noted[-1]["watermark/penalty"] < noted[0]["watermark/penalty"]


@pytest.mark.filterwarnings("ignore")
def test_adi_in_transformers(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="an optional package")
    from nnw_onnx_torch import HuggingFaceCallback

    model = Classified()
    some = digits().inputs[:50]
    mark = Watermark(model, PAYLOAD, "adi", seed=1, inputs=some, classes=10)
    extended = mark.extend_dataset(items(), keys=("pixel_values", "labels"))
    # 899 digits, 16 triggers: as many repeats as make one in seventeen
    assert len(extended) == 899 + 4 * 16
    trainer = hugging_face(
        model, extended, HuggingFaceCallback(mark), tmp_path, num_train_epochs=20
    )
    assert mark.symbol_error_rate() == 0
    assert "watermark/penalty" not in trainer.state.log_history[-1]


def test_a_data_set_is_followed_by_triggers() -> None:
    some = digits().inputs[:50]
    mark = Watermark(network(), PAYLOAD, "adi", seed=1, inputs=some, classes=10)
    own = mark.own_samples.read(np.arange(16))
    (images,), labels = own.feeds.values(), own.targets
    pairs = mark.extend_dataset(data(), repeats=2)
    assert len(pairs) == 899 + 32
    assert torch.equal(pairs[0][0], data()[0][0])
    for k in (0, 15, 16, 31):
        image, label = pairs[899 + k]
        assert np.array_equal(image.numpy(), images[k % 16])
        assert isinstance(label, torch.Tensor)
        assert int(label) == labels[k % 16]
    with pytest.raises(IndexError):
        pairs[899 + 32]
    batch = next(iter(torch.utils.data.DataLoader(pairs, batch_size=931)))
    assert batch[1].tolist()[899:] == labels.tolist() * 2
    plain = Watermark(network(), PAYLOAD, seed=1)
    assert len(plain.extend_dataset(data())) == 899


def test_deepspeed_is_refused() -> None:
    pytest.importorskip("transformers", reason="an optional package")
    from nnw_onnx_torch import HuggingFaceCallback

    class Arguments:
        deepspeed = "config.json"

    mark = Watermark(network(), PAYLOAD, seed=1)
    with pytest.raises(TrainingError, match="got a training by DeepSpeed; add Watermark.penalty"):
        HuggingFaceCallback(mark).on_train_begin(Arguments(), None, None)


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("lightning", ("lightning", "lightning.pytorch", "pytorch_lightning"),
         "got none of lightning and pytorch_lightning; pip install 'nnw-onnx[lightning]'"),
        ("transformers", ("transformers",), "; pip install 'nnw-onnx[transformers]'"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, missing: tuple[str, ...], message: str
) -> None:
    for module_name in missing:
        monkeypatch.setitem(sys.modules, module_name, None)
    monkeypatch.delitem(sys.modules, f"nnw_onnx_torch.{name}", raising=False)
    with pytest.raises(TrainingError) as caught:
        importlib.import_module(f"nnw_onnx_torch.{name}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_package_imports_nothing_optional() -> None:
    import subprocess

    code = (
        "import sys, nnw_onnx_torch; from nnw_onnx_torch import TorchTrainer; TorchTrainer(); "
        "print([m for m in ('torch', 'lightning', 'transformers', 'onnx') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
