"""The numeric operators of `ai.onnx.ml`: scaling, linear models and the picking of features.

Trees and support vectors have no gradient worth training and are left out.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnw_onnx.errors import TrainingError
from nnw_onnx_torch.graph.operators._table import Call, numbers, operator

_DOMAIN = "ai.onnx.ml"
Text: TypeAlias = NDArray[np.object_]


def _row(x: Tensor, values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=x.device)


@operator("Scaler", domain=_DOMAIN)
def scaler(call: Call, x: Tensor) -> Tensor:
    """(x - offset) * scale of each feature."""
    offset, scale = call.get("offset") or [0.0], call.get("scale") or [1.0]
    return (x.float() - _row(x, offset)) * _row(x, scale)


@operator("Normalizer", domain=_DOMAIN)
def normalizer(call: Call, x: Tensor) -> Tensor:
    """Features over their largest one, their sum, or their length; as they are if that is 0."""
    x = x.float()
    match call.get("norm", "MAX"):
        case "MAX":
            size = x.amax(-1, keepdim=True)
        case "L1":
            size = x.abs().sum(-1, keepdim=True)
        case _:
            size = x.square().sum(-1, keepdim=True).sqrt()
    return x / torch.where(size == 0, torch.ones_like(size), size)


@operator("Imputer", domain=_DOMAIN)
def imputer(call: Call, x: Tensor) -> Tensor:
    """Features with one value, often NaN, replaced by a value of each feature."""
    if x.is_floating_point():
        values, replaced = call.get("imputed_value_floats"), call.get("replaced_value_float", 0.0)
    else:
        values, replaced = call.get("imputed_value_int64s"), call.get("replaced_value_int64", 0)
    missing = torch.isnan(x) if math.isnan(replaced) else x == replaced
    return torch.where(missing, torch.tensor(values, dtype=x.dtype, device=x.device), x)


@operator("Binarizer", domain=_DOMAIN)
def binarizer(call: Call, x: Tensor) -> Tensor:
    """1 above a threshold, else 0."""
    above: Tensor = x > call.get("threshold", 0.0)
    return above.to(x.dtype)


@operator("ArrayFeatureExtractor", domain=_DOMAIN)
def array_feature_extractor(call: Call, x: Tensor | Text, indices: Tensor) -> Tensor | Text:
    """Some features of the last axis; they may be text."""
    rows = x if x.ndim > 1 else x[None]
    if isinstance(rows, np.ndarray):
        return rows[..., numbers(indices)]
    return rows.index_select(-1, indices.reshape(-1).to(x.device))


@operator("FeatureVectorizer", domain=_DOMAIN)
def feature_vectorizer(call: Call, *inputs: Tensor) -> Tensor:
    """The features (n, c) of several tensors side by side."""
    return torch.cat([x.float() if x.dim() > 1 else x.float()[:, None] for x in inputs], 1)


def _post_transform(scores: Tensor, how: str) -> Tensor:
    match how:
        case "LOGISTIC":
            return torch.sigmoid(scores)
        case "SOFTMAX":
            return torch.softmax(scores, -1)
        case "SOFTMAX_ZERO":
            shares = torch.softmax(scores.masked_fill(scores == 0, -torch.inf), -1)
            return torch.nan_to_num(shares)
        case "NONE":
            return scores
        case _:
            raise TrainingError(
                "expected the post_transform NONE, LOGISTIC, SOFTMAX or SOFTMAX_ZERO, got "
                f"{how}; export the model without it"
            )


@operator("LinearRegressor", domain=_DOMAIN)
def linear_regressor(call: Call, x: Tensor) -> Tensor:
    """Targets (n, t) of a linear model."""
    targets = call.get("targets", 1)
    y = x.float() @ _row(x, call.attributes["coefficients"]).reshape(targets, -1).t()
    if call.get("intercepts"):
        y = y + _row(x, call.get("intercepts"))
    return _post_transform(y, call.get("post_transform", "NONE"))


@operator("LinearClassifier", domain=_DOMAIN)
def linear_classifier(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """Class and scores (n, classes) of a linear model; of one row of weights, both classes'."""
    labels = call.get("classlabels_ints")
    if labels is None and call.outputs[0]:
        raise TrainingError(
            "expected classes that are integers, got text; "
            "train on the scores and remove the output of class names"
        )
    x = x.float() if x.dim() > 1 else x.float()[None]
    weights = _row(x, call.attributes["coefficients"]).reshape(-1, x.shape[1])
    scores = x @ weights.t()
    if call.get("intercepts"):
        scores = scores + _row(x, call.get("intercepts"))
    how = call.get("post_transform", "NONE")
    if scores.shape[1] == 1:
        # As onnxruntime has it: of two classes only LOGISTIC transforms the scores.
        best = (scores[:, 0] > 0).long()
        signed = torch.cat([-scores, scores], 1)
        scores = torch.sigmoid(signed) if how == "LOGISTIC" else torch.cat([1 - scores, scores], 1)
    else:
        best = scores.argmax(1)
        scores = _post_transform(scores, how)
    classes = best if labels is None else torch.tensor(labels, device=x.device)[best]
    return classes, scores


@operator("ZipMap", domain=_DOMAIN)
def zip_map(call: Call, scores: Tensor) -> Tensor:
    """The scores themselves, in the order of their classes: torch has no maps to put them in."""
    return scores
