"""The whole test of a plug-in: nnw-onnx brings the checks."""

import numpy as np
import pytest
from nnw_onnx_example.distance import Distance
from nnw_onnx_example.likeness import Likeness
from nnw_onnx_example.order import Order
from nnw_onnx_example.shrinkage import Shrinkage
from nnw_onnx_example.sine import Sine

from nnw_onnx.testing import TaskCase

POINTS = Sine().load("test")
ANSWERS = POINTS.read(np.arange(len(POINTS))).targets
CASE = TaskCase(Distance(), POINTS, {"y": 0.99 * ANSWERS})


@pytest.mark.nnw_plugins(Likeness, Order, Shrinkage(intensity=0.5), Sine, CASE)
def test_contract(nnw_check):
    nnw_check()
