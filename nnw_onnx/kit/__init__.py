"""What authors of plug-ins build on: public, documented, versioned with the package.

It is all that a plug-in needs beside `nnw_onnx.vocabulary`, `nnw_onnx.plugins.option` and
`nnw_onnx.errors`:

- `carriers`, `injections`, `symbols`, `spreading`: layers that carry a watermark, bits in them;
- `keystream`: everything random of a key; `commitments`: what binds it;
- `triggers`: trigger inputs, and what a network answers to them;
- `evidence`: exact tests of what was read;
- `optimizers`, `initialisation`, `trainings`: for what is trained;
- `samples`, `preprocessing`, `images`, `signals`, `tokens`, `sources`: data, and the way back to
  what they stand for; `meters`: measures of quality.
"""
