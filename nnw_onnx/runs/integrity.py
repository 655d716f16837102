"""Whether a network is what it was when it was sealed, where it is not, and getting it back."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from nnw_onnx.errors import ConfigurationError, RestorationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.runs import guard
from nnw_onnx.runs.seals import Seal, SealedPart, SealedTensor, check_code, read_network
from nnw_onnx.runs.suspect import isolated, suspects
from nnw_onnx.vocabulary import Key, Restores

How: TypeAlias = Literal["changed", "renamed", "moved", "added", "missing"]


@dataclass(frozen=True)
class Change:
    """One piece of a network that is not as it was.

    Attributes:
        what: "tensor", or "graph" for one of its parts.
        name: of the piece, as it is now; of a missing one as it was.
        how: "changed"; "renamed": the same values under another name; "moved": a part in another
            order, or a tensor that is stored as something else; "added"; "missing".
        note: what more there is to say, such as the name that it had.
        blocks: of a changed tensor, first weight and end (exclusive) of each run of changed blocks,
            flat in stored layout; empty where type or shape are others.
        weights: number of weights of the tensor; 0 for a part of the graph.
    """

    what: Literal["tensor", "graph"]
    name: str
    how: How
    note: str = ""
    blocks: tuple[tuple[int, int], ...] = ()
    weights: int = 0


@dataclass(frozen=True)
class Integrity:
    """What became of comparing a network with its seal; as `bool` whether it is what it was.

    Attributes:
        root: SHA-256 (hex) over all that the network consists of now.
        sealed: that of the seal.
        changes: every piece that is not as it was: the graph first, then tensors.
        tensors: number of tensors that were looked at.
        parts: likewise of parts of the graph.
        blocks: number of blocks of the seal.
        renamed: whether nothing but names of tensors differs, where nodes use them too.
    """

    root: str
    sealed: str
    changes: tuple[Change, ...]
    tensors: int
    parts: int
    blocks: int
    renamed: bool = False

    def __bool__(self) -> bool:
        return self.root == self.sealed

    def __repr__(self) -> str:
        said = "as it was" if self else f"{len(self.changes)} pieces are not as they were"
        return f"<Integrity: {said}, {self.parts} parts of the graph and {self.tensors} tensors>"


def verify_seal(network: OnnxNetwork, sealed: Seal, *, secret: bytes | None = None) -> Integrity:
    """Whether a network is what it was when the seal was made, and which pieces are not.

    Raises:
        ConfigurationError: the seal is not that of the secret (see `seals.check_code`), or was
            changed where its root does not tell.
    """
    check_code(sealed, secret)
    read = read_network(network, sealed.block, everything=sealed.everything)
    if read.root == sealed.root and (read.parts, read.tensors) != (sealed.parts, sealed.tensors):
        raise ConfigurationError(
            "seal: expected blocks, types and shapes that fit its root, got others: it was changed "
            "since it was made; give the owner's seal"
        )
    tensors = tuple(_of_tensors(sealed, read.tensors))
    parts = tuple(_of_parts(sealed.parts, read.parts))
    names = {c.name: c.note for c in tensors if c.how == "renamed"}
    renamed = bool(names) and _only_renamed(network, sealed, names, tensors)
    return Integrity(
        root=read.root,
        sealed=sealed.root,
        changes=(*parts, *tensors),
        tensors=len(read.tensors),
        parts=len(read.parts),
        blocks=sealed.blocks,
        renamed=renamed,
    )


def _only_renamed(
    network: OnnxNetwork, sealed: Seal, was: Mapping[str, str], tensors: Iterable[Change]
) -> bool:
    """Whether the graph is what it was once tensors have their former names."""
    if any(change.how != "renamed" for change in tensors):
        return False
    told = network.inventory(everything=sealed.everything, renamed=was)
    now = [(part.name, part.operator, part.digest.hex()) for part in told.parts]
    return now == [(part.name, part.operator, part.sha256) for part in sealed.parts]


def _of_parts(before: Sequence[SealedPart], now: Sequence[SealedPart]) -> Iterator[Change]:
    old, new = {p.name: p for p in before}, {p.name: p for p in now}
    moved = _out_of_order([p.name for p in before], [p.name for p in now])
    for name, part in new.items():
        was = old.get(name)
        if was is None:
            yield Change("graph", name, "added", part.operator)
        elif (was.sha256, was.operator) != (part.sha256, part.operator):
            other = was.operator != part.operator
            note = f"was {was.operator}, is {part.operator}" if other else part.operator
            yield Change("graph", name, "changed", note)
        elif name in moved:
            yield Change("graph", name, "moved", part.operator)
    yield from (Change("graph", n, "missing", p.operator) for n, p in old.items() if n not in new)


def _out_of_order(before: Sequence[str], now: Sequence[str]) -> set[str]:
    """The fewest names that have to be put elsewhere for the others to stand in their order.

    All but a longest increasing subsequence (Schensted 1961).
    """
    place = {name: k for k, name in enumerate(before)}
    common = [name for name in now if name in place]
    tails: list[int] = []
    last: list[int] = []
    previous: list[int] = []
    for k, name in enumerate(common):
        length = bisect_left(tails, place[name])
        previous.append(last[length - 1] if length else -1)
        tails[length : length + 1] = [place[name]]
        last[length : length + 1] = [k]
    kept, k = set(), last[-1] if last else -1
    while k >= 0:
        kept.add(common[k])
        k = previous[k]
    return set(common) - kept


def _of_tensors(sealed: Seal, now: Sequence[SealedTensor]) -> Iterator[Change]:
    old, new = {t.name: t for t in sealed.tensors}, {t.name: t for t in now}
    for name, tensor in new.items():
        was = old.get(name)
        if was is not None and was.sha256 != tensor.sha256:
            yield _changed(was, tensor, sealed.block)
        elif was is not None and was.place != tensor.place:
            note = f"was {_stored(was)}, is {_stored(tensor)}, with the same values"
            yield Change("tensor", name, "moved", note, weights=prod(tensor.shape))
    lost = [t for t in old.values() if t.name not in new]
    yield from _come_and_gone(lost, [t for t in now if t.name not in old])


def _stored(tensor: SealedTensor) -> str:
    article = "an" if tensor.place[:1] in "aeiou" else "a"
    return f"{article} {tensor.place}"


def _come_and_gone(lost: Iterable[SealedTensor], found: Iterable[SealedTensor]) -> Iterator[Change]:
    """Tensors that are there no more and those that are new, paired where values are the same."""
    known: dict[str, list[SealedTensor]] = defaultdict(list)
    for tensor in lost:
        known[tensor.sha256].append(tensor)
    for tensor in found:
        same = known[tensor.sha256]
        how: How = "renamed" if same else "added"
        note = same.pop(0).name if same else ""
        yield Change("tensor", tensor.name, how, note, weights=prod(tensor.shape))
    for left in known.values():
        for tensor in left:
            yield Change("tensor", tensor.name, "missing", weights=prod(tensor.shape))


def _changed(was: SealedTensor, tensor: SealedTensor, block: int) -> Change:
    """What is another one in a tensor of the same name."""
    size = prod(tensor.shape)
    if (was.dtype, was.shape) != (tensor.dtype, tensor.shape):
        note = f"was {_described(was)}, is {_described(tensor)}"
        return Change("tensor", tensor.name, "changed", note, weights=size)
    runs = tuple(_runs(was, tensor, block, size))
    # Where all that a seal keeps of blocks fits, it was tampered with: it tells no place.
    return Change("tensor", tensor.name, "changed", "", runs or ((0, size),), size)


def _described(tensor: SealedTensor) -> str:
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}"


def _runs(
    was: SealedTensor, tensor: SealedTensor, block: int, size: int
) -> Iterator[tuple[int, int]]:
    """Changed blocks, those next to each other as one."""
    begun: int | None = None
    for number in range(-(-size // block)):
        same = was.block(number) == tensor.block(number)
        if begun is None and not same:
            begun = number
        elif begun is not None and same:
            yield begun * block, number * block
            begun = None
    if begun is not None:
        yield begun * block, size


def restored(network: OnnxNetwork, method: Restores, key: Key) -> OnnxNetwork:
    """The network with what a method gives back, and the same one where nothing was changed.

    Raises:
        CarrierNotFoundError: a layer of the mark is not there.
        RestorationError: more was changed than can be given back, or weights are not kept as they
            are.
        PluginError: the method breaks its contract.
    """
    suspect = suspects(network, isolated(network))(method)
    weights = guard.guarded(method, "restore", lambda: dict(method.restore(suspect, key)))
    result = network.with_weights(weights)
    for name, wanted in weights.items():
        if not np.array_equal(result.weights[name], wanted):
            raise RestorationError(
                f"layer {name!r}: expected weights that are stored as they are, got others back; "
                "restore the network from a copy"
            )
    return result
