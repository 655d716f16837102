"""One file = one plug-in; see `nnw_onnx.plugins`."""
