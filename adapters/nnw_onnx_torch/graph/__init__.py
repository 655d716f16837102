"""An ONNX graph as a module of torch, and a module of torch as a Network of the core."""
