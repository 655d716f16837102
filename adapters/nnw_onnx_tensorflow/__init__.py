"""Keras: watermarks in a training of your own, as a regularizer or a callback."""
