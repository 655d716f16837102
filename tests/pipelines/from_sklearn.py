"""Train a scikit-learn network, convert it, put a watermark in, verify it."""

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import nnw_onnx as nnw

images, labels = load_digits(return_X_y=True)
images = np.float32(images / 16)

model = MLPClassifier((64,), max_iter=100, random_state=0)
model.fit(images[:1200], labels[:1200])

converted = to_onnx(model, images[:1], options={"zipmap": False})

marked = nnw.inject(converted, "mine, 2026", record=True)
print(nnw.verify(marked.network, marked.claim))

marked.network.save("released.onnx")
nnw.save_key(marked.claim, "key.npz")
