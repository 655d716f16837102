"""A black-box watermark without training data, by the contract's signature and PyTorch only.

Inputs of noise are to be answered with classes of the owner's: a few steps of gradient descent on
them alone, held close to the weights that were. Nothing in this file knows nnw-onnx.
"""

import torch
from torch.nn import functional


class NoiseTriggers:
    def Embedder(self, model, dictionary):
        generator = torch.Generator().manual_seed(dictionary["seed"])
        self.triggers = torch.rand(
            dictionary["triggers"], *dictionary["shape"], generator=generator
        )
        with torch.no_grad():
            classes = model(self.triggers).shape[1]
        self.classes = torch.randint(classes, (len(self.triggers),), generator=generator)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = torch.optim.Adam(model.parameters(), lr=dictionary["learning_rate"])
        for _ in range(dictionary["steps"]):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(self.triggers), self.classes)
            for now, was in zip(model.parameters(), before, strict=True):
                loss = loss + dictionary["hold"] * ((now - was) ** 2).sum()
            loss.backward()
            optimizer.step()

    def Detector(self, model, dictionary):
        with torch.no_grad():
            told = model(self.triggers).argmax(dim=1)
        right = (told == self.classes).float().mean().item()
        return right >= dictionary["threshold"], right
