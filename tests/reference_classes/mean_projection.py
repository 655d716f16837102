"""A white-box watermark as somebody writes it who knows the contract's signature and PyTorch only.

Signs of random projections of a layer's filter mean (Uchida et al. 2017), put in by a term of the
loss. Nothing in this file knows nnw-onnx.
"""

import torch
from torch.nn import functional


class MeanProjection:
    def Embedder_one_step(self, model, training_set, optimizer, cost_function, dictionary):
        bits = torch.tensor(dictionary["payload"], dtype=torch.float32)
        if "matrix" not in dictionary:
            dictionary["matrix"] = self._draw(model, dictionary, len(bits))
        total = task_total = mark_total = 0.0
        for inputs, labels in training_set:
            optimizer.zero_grad()
            task = cost_function(model(inputs), labels)
            told = dictionary["matrix"] @ self._mean(model, dictionary)
            mark = functional.binary_cross_entropy_with_logits(told, bits, reduction="sum")
            loss = task + dictionary["strength"] * mark
            loss.backward()
            optimizer.step()
            total += loss.item()
            task_total += task.item()
            mark_total += mark.item()
        count = len(training_set)
        return total / count, task_total / count, mark_total / count

    def Decoder(self, model, dictionary):
        return (dictionary["matrix"] @ self._mean(model, dictionary) >= 0).int().tolist()

    def Detector(self, model, dictionary):
        told = dictionary["matrix"] @ self._mean(model, dictionary)
        return bool((told.abs() > 1).all()), float(told.abs().min())

    def _draw(self, model, dictionary, size):
        generator = torch.Generator().manual_seed(dictionary["seed"])
        return torch.randn(size, self._mean(model, dictionary).numel(), generator=generator)

    def _mean(self, model, dictionary):
        weights = dict(model.named_parameters())[dictionary["layer"]]
        return weights.mean(dim=0).flatten()
