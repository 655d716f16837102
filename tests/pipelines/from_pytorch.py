"""Train a PyTorch network, export it, put a watermark in, verify it."""

import numpy as np
import torch
from sklearn.datasets import load_digits

import nnw_onnx as nnw

images, labels = load_digits(return_X_y=True)
images = torch.from_numpy(np.float32(images / 16).reshape(-1, 1, 8, 8))
labels = torch.from_numpy(labels)

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 16, 3),
    torch.nn.ReLU(),
    torch.nn.Conv2d(16, 32, 3),
    torch.nn.ReLU(),
    torch.nn.Flatten(),
    torch.nn.Linear(512, 10),
)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(20):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images[:1200]), labels[:1200]).backward()
    optimizer.step()

batch = torch.export.Dim("batch")
program = torch.onnx.export(
    model.eval(), (images[:2],), dynamo=True, dynamic_shapes=({0: batch},), verbose=False
)

marked = nnw.inject(program, "mine, 2026", record=True)
print(nnw.verify(marked.network, marked.claim))

marked.network.save("released.onnx")
nnw.save_key(marked.claim, "key.npz")
