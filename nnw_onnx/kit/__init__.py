"""What authors of plug-ins build on: public, documented, versioned with the package.

It is all that a plug-in needs beside `nnw_onnx.vocabulary`, `nnw_onnx.plugins.option` and
`nnw_onnx.errors`:

- `carriers`, `transforms`: the layer that carries a watermark: choosing it, naming it, taking its
  weights; constants that can carry none.
- `candidates`, `matching`: where a carrier is in another file of its network, by name and shape, or
  by values.
- `channels`: hidden channels in another order, or with other scales.
- `alignment` with `locating`, `strands`, `weighing`, `scales`, `bases`, `dummies`: a network put
  back into the order, scale, sign and basis of a reference, its layers found and dummies taken out.
- `symbols`, `spreading`, `projections`, `mantissas`, `keystream`: Symbols to signs and back, where
  and by what they are spread, bits of weights, and randomness from a secret.
- `evidence`, `commitments`, `injections`: the exact test of Symbols, what a key is bound to, the
  end of every injection.
- `vouching`, `merkle`: blocks of weights that vouch for themselves, one hash for many pieces.
- `foreign`, `derivation`: keys that were made elsewhere, and many secrets from one seed.
- `triggers`, `trigger_sets`, `stamps`: inputs with answers of the owner's, drawn, from images, or
  samples with a mark; with Symbols, or with a class each.
- `copies`: the weights of a layer in several copies of one network, and their mean.
- `knowing`, `unlabelled`, `spatial`: attackers who know a method, what they had; samples without
  labels and what a network answers to them; images moved and with patterns.
- `steps`: the values beside those of quantized weights.
- `samples`, `preprocessing`, `images`, `signals`, `tokens`, `sources`: data, and files that are not
  trusted.
- `meters`: what several tasks measure alike.
- `shown`: what a network is shown, changed as an image or signal.
- `optimizers`, `extractors`, `trainings`, `lessons`, `initialisation`: arrays of a method's own,
  Decoders that are trained, recipes, answers of a teacher, fresh weights.
"""
