"""The example package has tests of its own, which need it installed."""

collect_ignore = ["nnw-onnx-example"]
