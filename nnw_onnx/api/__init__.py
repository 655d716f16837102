"""The Python interface: what the command line does, as functions.

Example:
    >>> import nnw_onnx as nnw
    >>> marked = nnw.inject("model.onnx", "mine")
    >>> marked.network.save("marked.onnx")
    >>> nnw.save_key(marked.claim, "key.npz")
    >>> bool(nnw.detect("marked.onnx", nnw.load_key("key.npz")))
    True

Warnings and progress go to the logger "nnw_onnx" of the standard library: `logging.basicConfig()`
shows the warnings, `logging.basicConfig(level=logging.INFO)` each epoch of a training too.
"""
