"""Train a JAX function, convert it, put a watermark in, verify it."""

import jax
import numpy as np
from jax2onnx import to_onnx
from sklearn.datasets import load_digits

import nnw_onnx as nnw

images, labels = load_digits(return_X_y=True)
images = np.float32(images / 16)


def model(weights, pixels):
    """Scores of ten classes."""
    return jax.nn.relu(pixels @ weights["hidden"]) @ weights["output"]


def loss(weights):
    """Mean cross-entropy of the training images."""
    scores = jax.nn.log_softmax(model(weights, images[:1200]))
    return -scores[np.arange(1200), labels[:1200]].mean()


@jax.jit
def step(weights):
    """Weights after one step of gradient descent."""
    return jax.tree.map(lambda w, g: w - g / 2, weights, jax.grad(loss)(weights))


first, second = jax.random.split(jax.random.key(0))
weights = {
    "hidden": jax.random.normal(first, (64, 128)) / 10,
    "output": jax.random.normal(second, (128, 10)) / 10,
}
for _ in range(100):
    weights = step(weights)

converted = to_onnx(lambda pixels: model(weights, pixels), [("batch", 64)])

marked = nnw.inject(converted, "mine, 2026", record=True)
print(nnw.verify(marked.network, marked.claim))

marked.network.save("released.onnx")
nnw.save_key(marked.claim, "key.npz")
