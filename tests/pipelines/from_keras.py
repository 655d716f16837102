"""Train a Keras network, export it, put a watermark in, verify it."""

import keras
import numpy as np
from sklearn.datasets import load_digits

import nnw_onnx as nnw

images, labels = load_digits(return_X_y=True)
images = np.float32(images / 16).reshape(-1, 8, 8, 1)

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, activation="relu"),
        keras.layers.Conv2D(32, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(1e-2), loss)
model.fit(images[:1200], labels[:1200], batch_size=400, epochs=5, verbose=0)

model.export("exported.onnx", format="onnx", verbose=False)

marked = nnw.inject("exported.onnx", "mine, 2026", record=True)
print(nnw.verify(marked.network, marked.claim))

marked.network.save("released.onnx")
nnw.save_key(marked.claim, "key.npz")
