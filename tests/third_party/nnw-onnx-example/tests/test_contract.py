"""The whole test of a plug-in: nnw-onnx brings the checks."""

import pytest
from nnw_onnx_example.class_mean import ClassMean
from nnw_onnx_example.clipping import Clipping
from nnw_onnx_example.mantissa import Mantissa


@pytest.mark.nnw_plugins(Mantissa, ClassMean, Clipping(intensity=1.0))
def test_contract(nnw_check):
    nnw_check()
