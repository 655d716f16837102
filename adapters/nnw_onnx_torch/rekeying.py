"""The key of a model, for a file that was exported by whatever means."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import nnw_onnx
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import matching
from nnw_onnx.vocabulary import Claim
from nnw_onnx_torch.graph.torch_network import TorchNetwork


def rekey(claim: Claim, network: OnnxNetwork | str | Path, model: nn.Module | None = None) -> Claim:
    """The claim of a Watermark of the model, as one on a file of it.

    `export` keeps names, so its files need none of this. torch's own exporters name tensors anew
    and fold normalizations into kernels, and post-processing turns and joins them; `detect` finds
    such carriers by their shapes, with a p-value corrected for the search, which this spares.

    Args:
        claim: `Watermark.claim`.
        network: the file, or the network in it.
        model: the model as it was exported, whose values are looked for; without it the carrier is
            the layer of a similar name, or the only one of its shape.

    Raises:
        CarrierNotFoundError: the file has no layer with the values of a carrier.
        ModelFileError: the file cannot be opened.
    """
    opened = network if isinstance(network, OnnxNetwork) else nnw_onnx.open(network)
    return matching.rekeyed(claim, opened, None if model is None else TorchNetwork(model))
