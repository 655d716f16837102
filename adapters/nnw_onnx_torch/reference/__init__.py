"""Methods written against the class contract of MPAI-NNT's reference software, used as they are.

The contract is its documented signature and nothing else: a class with `Embedder(model, dict)` or
`Embedder_one_step(model, training set, optimizer, cost function, dict)`, with `Decoder(model,
dict)` or `Detector(model, dict)`, and for fingerprints `Extractor` and `Matcher`, which its
`Detector` calls. It is code of the user's own: it runs only where leave was given for its file
(`nnw_onnx.kit.permissions`), in a process of its own that `process` is the program of.
"""
