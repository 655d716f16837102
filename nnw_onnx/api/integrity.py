"""Whether a network is what it was: seals beside it, and marks that give it back."""

from __future__ import annotations

from dataclasses import replace
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
    from nnw_onnx.runs.statements import Stated, Statement


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


def state(
    network: AnyNetwork, *, key: Claim | Key | None = None, everything: bool = False
) -> Statement:
    """An in-toto Statement over a network's files and what it consists of, to be signed.

    `.save(path)` writes it, the same bytes every time; it holds nothing secret.

    Args:
        network: a file, or a network opened from one.
        key: of a mark in it, whose commitment is stated.
        everything: see `seal`.

    Raises:
        ModelFileError: the file is missing, broken or hostile.
        ConfigurationError: the network is in no file, or the key has no commitment.
    """
    from nnw_onnx.runs import statements

    own = None if key is None else arguments.whole_claim(key).key
    return statements.state(arguments.opened(network), own, everything=everything)


def verify_statement(
    network: AnyNetwork, stated: Statement | str | Path, *, key: Claim | Key | None = None
) -> Stated:
    """Whether a network is what a statement says; as `bool` the answer.

    Whose statement it is says only a signature, which is not looked at here.

    Args:
        network: a file, or a network opened from one.
        stated: of `state`, the file that it was saved to, or an envelope (DSSE) around it.
        key: of a mark, whose commitment must be the one that is stated.

    Raises:
        ModelFileError: the file is missing, broken or hostile.
        ConfigurationError: the file is no statement, or the key has no commitment.
    """
    from nnw_onnx.runs import statements

    if isinstance(stated, statements.Statement):
        whole, enveloped = stated, False
    else:
        whole, enveloped = statements.load_statement(stated)
    own = None if key is None else arguments.whole_claim(key).key
    found = statements.verify_statement(arguments.opened(network), whole, own)
    return replace(found, enveloped=enveloped)


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
