"""What authors of plug-ins build on: public, documented, versioned with the package.

It is all that a plug-in needs beside `nnw_onnx.vocabulary`, `nnw_onnx.plugins.option` and
`nnw_onnx.errors`:

- `carriers`, `transforms`: the layer that carries a watermark: choosing it, naming it, taking its
  weights; constants that can carry none.
- `candidates`, `matching`: where a carrier is in another file of its network, by name and shape, or
  by values.
- `symbols`, `spreading`, `keystream`: Symbols to signs and back, and randomness from a secret.
- `evidence`, `commitments`, `injections`: the exact test of Symbols, what a key is bound to, the
  end of every injection.
- `triggers`: inputs with answers of the owner's, drawn or from images.
- `samples`, `preprocessing`, `images`, `signals`, `tokens`, `sources`: data, and files that are not
  trusted.
- `meters`: what several tasks measure alike.
- `optimizers`, `trainings`, `initialisation`: arrays of a method's own, recipes, fresh weights.
"""
