"""Train a TensorFlow function, convert it, put a watermark in, verify it."""

import numpy as np
import tensorflow as tf
import tf2onnx
from sklearn.datasets import load_digits

import nnw_onnx as nnw

images, labels = load_digits(return_X_y=True)
images = np.float32(images / 16)

tf.random.set_seed(0)
hidden = tf.Variable(tf.random.normal((64, 128), stddev=0.1))
output = tf.Variable(tf.random.normal((128, 10), stddev=0.1))


@tf.function(input_signature=[tf.TensorSpec((None, 64), tf.float32, name="pixels")])
def model(pixels):
    """Scores of ten classes."""
    return tf.nn.relu(pixels @ hidden) @ output


for _ in range(100):
    with tf.GradientTape(persistent=True) as tape:
        scores = model(images[:1200])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[:1200], scores)
    for weights in (hidden, output):
        weights.assign_sub(tape.gradient(loss, weights) / 2400)

converted = tf2onnx.convert.from_function(model, model.input_signature)

marked = nnw.inject(converted, "mine, 2026", record=True)
print(nnw.verify(marked.network, marked.claim))

marked.network.save("released.onnx")
nnw.save_key(marked.claim, "key.npz")
