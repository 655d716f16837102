"""PyTorch: an ONNX graph as a trainable module, and watermarks in a training loop of your own."""
