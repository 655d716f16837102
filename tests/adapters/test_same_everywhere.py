"""One watermark through PyTorch, through Keras and through the ONNX file: the same in all three."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import nnw_onnx as nnw

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
if keras.backend.backend() != "torch":
    pytest.skip("compares gradients of torch; set KERAS_BACKEND=torch", allow_module_level=True)

import nnw_onnx_tensorflow  # noqa: E402 - after the frameworks are known to be there
import nnw_onnx_torch  # noqa: E402
from nnw_onnx_torch import OnnxModule  # noqa: E402

pytestmark = pytest.mark.xdist_group("one network in three frameworks")

PAYLOAD = nnw.Payload.from_text("same")
OPTIONS = {"strength": 0.1}


class Net(torch.nn.Module):
    """Two convolutions whose answers are averaged, so that no layout of a Flatten matters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 24, 3, padding=1)
        self.second = torch.nn.Conv2d(24, 48, 3, padding=1)
        self.head = torch.nn.Linear(48, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(images))
        hidden = torch.relu(self.second(torch.max_pool2d(hidden, 2)))
        return self.head(hidden.amax((2, 3)))


def keras_twin(model: Net) -> keras.Model:
    """The same network with the same weights in Keras."""
    layers = keras.layers
    twin = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(24, 3, padding="same", activation="relu", name="first"),
            layers.MaxPooling2D(),
            layers.Conv2D(48, 3, padding="same", activation="relu", name="second"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(10, name="head"),
        ],
        name="net",
    )
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    for name in ("first", "second"):
        kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0)
        twin.get_layer(name).set_weights([kernel, state[f"{name}.bias"]])
    twin.get_layer("head").set_weights([state["head.weight"].T, state["head.bias"]])
    return twin


@pytest.fixture(scope="module")
def data():
    """Images (n, 1, 8, 8) and classes of training and test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    return (images[::2], digits.target[::2]), (images[1::2], digits.target[1::2])


@pytest.fixture
def three(tmp_path, data):
    """The three watermarks, of one secret, on three copies of one network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Net()
    exported = nnw_onnx_torch.export(
        model, (torch.from_numpy(data[0][0][:2]),), tmp_path / "a.onnx"
    )
    twin = keras_twin(model)
    native = nnw_onnx_torch.Watermark(
        model, PAYLOAD, layer="second.weight", options=OPTIONS, seed=1
    )
    graph = nnw_onnx_torch.Watermark(OnnxModule(exported.network), claim=native.claim)
    # Its layers have other names; the secret is what makes it the same watermark.
    key = dataclasses.replace(
        native.key, layers=(nnw_onnx_tensorflow.KerasNetwork(twin).named("second"),)
    )
    in_keras = nnw_onnx_tensorflow.Watermark(twin, claim=dataclasses.replace(native.claim, key=key))
    return native, graph, in_keras


def test_penalty_and_gradient_are_equal(three):
    native, graph, in_keras = three
    kernel = native.network.model.second.weight
    stored = graph.network.parameter("second.weight")
    variable = in_keras.learning[0].variable.value
    terms = [native.penalty(), graph.penalty(), in_keras.penalty()]
    for term in terms:
        term.backward()
    values = [float(term.detach()) for term in terms]
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)
    assert values[0] > 0
    expected = kernel.grad.numpy()
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(stored.grad.numpy(), expected, rtol=1e-5, atol=1e-5 * scale)
    turned = variable.grad.numpy().transpose(3, 2, 0, 1)
    np.testing.assert_allclose(turned, expected, rtol=1e-5, atol=1e-5 * scale)


def batches(samples: int, epochs: int, size: int = 32):
    """The same order of samples for everybody."""
    rng = np.random.Generator(np.random.Philox(0))
    for _ in range(epochs):
        order = rng.permutation(samples)
        yield from (order[start : start + size] for start in range(0, samples, size))


def descend(module, mark, images, labels) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    module.train()
    for chosen in batches(len(labels), 12):
        scores = module(torch.from_numpy(images[chosen]))
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[chosen]))
        optimizer.zero_grad()
        (loss + mark.penalty()).backward()
        optimizer.step()
    module.eval()


def descend_in_keras(model, mark, images, labels) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    chosen = np.concatenate(list(batches(len(labels), 12)))
    model.fit(
        images[chosen].transpose(0, 2, 3, 1), labels[chosen], batch_size=32, shuffle=False,
        verbose=0, callbacks=[mark.callback()],
    )  # fmt: skip


def right(path: Path, images, labels) -> np.ndarray:
    """Which test samples the ONNX file answers rightly."""
    from nnw_onnx.inference import Session

    network = nnw.open(path)
    first = network.inputs[0].shape[1:]
    turned = images if first[0] == 1 else images.transpose(0, 2, 3, 1)
    (scores,) = Session(network.runnable()).predict(np.ascontiguousarray(turned)).values()
    return scores.argmax(1) == labels


def test_all_three_carry_it_after_export_and_answer_as_well(three, data, tmp_path):
    native, graph, in_keras = three
    (images, labels), (test_images, test_labels) = data
    model = native.network.model
    descend(model, native, images, labels)
    descend(graph.network, graph, images, labels)
    descend_in_keras(in_keras.model, in_keras, images, labels)
    paths = [tmp_path / f"{name}.onnx" for name in ("native", "graph", "keras")]
    nnw_onnx_torch.export(model, (torch.from_numpy(images[:2]),), paths[0])
    graph.network.network().save(paths[1])
    exported = nnw_onnx_tensorflow.export(
        in_keras.model, paths[2], images[:2].transpose(0, 2, 3, 1)
    )
    claims = [native.claim, graph.claim, nnw_onnx_tensorflow.rekey(in_keras.claim, exported)]
    for path, claim in zip(paths, claims, strict=True):
        assert nnw.decode(path, claim).payload.text == "same"
    # Rounding differs between frameworks and processors, and such trainings part over it: they
    # end between 0.92 and 0.98, whoever trains. The test above shows that the steps are the same.
    for path in paths:
        assert right(path, test_images, test_labels).mean() > 0.9
