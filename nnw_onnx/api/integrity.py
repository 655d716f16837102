"""Whether a network is what it was: seals beside it, and marks that give it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnw_onnx import plugins
from nnw_onnx.api import arguments
from nnw_onnx.api.arguments import AnyNetwork
from nnw_onnx.errors import ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import Claim, Key

if TYPE_CHECKING:
    from nnw_onnx.runs.integrity import Integrity
    from nnw_onnx.runs.seals import Seal


def seal(
    network: AnyNetwork,
    *,
    key: Claim | Key | bytes | None = None,
    everything: bool = False,
    block: int | None = None,
) -> Seal:
    """What a network consists of, as hashes that tell later whether and where it was changed.

    Nothing is put into the network. See `graph.inventory` for what counts as the same.

    Args:
        network: a file, a network in memory (see `open`) or an open one.
        key: of the owner, or a secret of at least 16 bytes such as that of `read_seed`: nobody else
            can make such a seal, nor check it. None makes one to be signed or published.
        everything: whether names of nodes, texts and metadata count too.
        block: weights of a block, the finest place of a change that is told; None for 1024, or more
            for a very large network.

    Raises:
        ModelFileError: the file is missing, broken or hostile.
        ConfigurationError: a block of another size, or a secret that is too short.
    """
    from nnw_onnx.runs import seals

    opened = arguments.opened(network)
    return seals.seal(opened, secret=_secret(key), everything=everything, block=block)


def verify_seal(
    network: AnyNetwork, sealed: Seal | str | Path, *, key: Claim | Key | bytes | None = None
) -> Integrity:
    """Whether a network is what it was when it was sealed; as `bool` the answer.

    Its `changes` name every tensor with the blocks, and every part of the graph, that is not.

    Args:
        network: a file, a network in memory (see `open`) or an open one.
        sealed: of `seal`, or the file that it was saved to.
        key: that the seal was made with.

    Raises:
        ModelFileError: the file is missing, broken or hostile.
        ConfigurationError: the file is no seal, it is not that of the key, or one of both is
            missing.
    """
    from nnw_onnx.runs import integrity, seals

    whole = sealed if isinstance(sealed, seals.Seal) else seals.load_seal(sealed)
    return integrity.verify_seal(arguments.opened(network), whole, secret=_secret(key))


def restore(network: AnyNetwork, claim: Claim | Key) -> OnnxNetwork:
    """The network that a mark of integrity gives back: see `gives_back` of its method.

    Args:
        network: a file, a network in memory (see `open`) or an open one with the mark.
        claim: of a key file, or a key alone.

    Raises:
        ConfigurationError: the method gives nothing back.
        CarrierNotFoundError: a layer of the mark is not there.
        RestorationError: more was changed than can be given back.
    """
    from nnw_onnx.runs.integrity import restored

    key, opened = arguments.whole_claim(claim).key, arguments.opened(network)
    method = plugins.restores(plugins.method_of(key))
    if method is None:
        raise ConfigurationError(
            f"{key.method.name}: expected a method that gives weights back, got one that does not; "
            "put in 'recoverable' or 'reversible'"
        )
    return restored(opened, method, key)


_LEAST_SECRET = 16


def _secret(key: Claim | Key | bytes | None) -> bytes | None:
    if key is None or isinstance(key, bytes):
        if key is not None and len(key) < _LEAST_SECRET:
            raise ConfigurationError(
                f"key: expected at least {_LEAST_SECRET} bytes that nobody can guess, got "
                f"{len(key)}; take what read_seed returns"
            )
        return key
    return arguments.whole_claim(key).key.secret
