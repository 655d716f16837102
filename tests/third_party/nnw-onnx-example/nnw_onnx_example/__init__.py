"""An example of plug-ins for nnw-onnx."""
