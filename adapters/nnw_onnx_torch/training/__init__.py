"""The trainer of ONNX networks, and what a method adds to a training in torch."""
