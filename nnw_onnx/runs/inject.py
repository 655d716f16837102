"""Put one watermark into one network: the only place that makes keys and claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, TrainingError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.kit import commitments
from nnw_onnx.kit.carriers import listed
from nnw_onnx.runs import grids, guard, training
from nnw_onnx.runs.coding import symbols_of
from nnw_onnx.runs.sources import with_paths
from nnw_onnx.runs.verify import SuspectOf, read
from nnw_onnx.vocabulary import (
    Additions,
    Bench,
    Claim,
    Code,
    Embeds,
    Epoch,
    Injects,
    Job,
    Method,
    Network,
    Payload,
    Technology,
    Trained,
    Trains,
)


class OwnersBench(Bench, Protocol):
    """What an injection needs beside a `Bench`; `runs.bench.RunBench` is one."""

    @property
    def seed(self) -> int:
        """Of the evaluation: what trainings draw follows from it."""
        ...

    def suspect_of(self, network: OnnxNetwork) -> SuspectOf:
        """A network as the Decoder of a method may see it."""
        ...

    def telling_epochs(self) -> AbstractContextManager[Callable[[Epoch], None]]:
        """What tells who watches of each epoch that a method trains by itself."""
        ...

    def through_file(self, network: Network, change: Callable[[Path, Path], None]) -> OnnxNetwork:
        """See `vocabulary.Bench`."""
        ...


@dataclass(frozen=True)
class Injected:
    """A network with a watermark, or with an enrolled fingerprint.

    Attributes:
        network: the watermarked network; of an enrolment the one that was given.
        claim: key and Symbols.
        payload: the bits that were put in, before code and alphabet.
        trained: how a training put it in, or None.
    """

    network: OnnxNetwork
    claim: Claim
    payload: Payload
    trained: Trained | None = None


def new_claim(
    technology: Technology,
    network: Network,
    payload: Payload,
    secret: bytes,
    bench: Bench,
    of: str = "owner",
) -> Claim:
    """A key for a network and the Symbols of a payload, bound to each other and to its options.

    Args:
        technology: method and code.
        network: before anything is put in; it is not changed.
        payload: the bits; empty for a method that carries none.
        secret: 32 bytes, from which everything random follows.
        bench: of this network; its layers are the carriers asked for.
        of: whose claim it is.

    Raises:
        InjectionError: no layer, or not this one, can hold the Symbols.
        ConfigurationError: the payload does not suit method or code.
        PluginError: method or code breaks its contract.
    """
    method = plugins.create(Method, technology.method)
    code = None if technology.code is None else plugins.create(Code, technology.code)
    symbols = symbols_of(method, code, payload)
    size = len(symbols)
    key = guard.guarded(method, "make_key", lambda: method.make_key(network, size, secret, bench))
    key = guard.checked_key(method, key, network, size, secret)
    key = replace(
        key,
        method=with_paths(type(method), method.spec(), lambda path: Path(path).name),
        code=None if code is None else code.spec(),
        carries=len(payload),
        notes=(*key.notes, *_left_out(network)),
    )
    return Claim(commitments.bound(commitments.settled(key), symbols), symbols, of)


def _left_out(network: Network) -> Iterator[str]:
    """What a public network gives away, in words."""
    public = [layer.name for layer in network.layers if layer.public]
    if public:
        yield (
            f"{len(public)} layers carry nothing, because a reference gives them away: "
            f"{listed(public)}; a layer that differs by more than 1 % of its norm is not seen as so"
        )


def inject(
    technology: Technology,
    network: OnnxNetwork,
    payload: Payload,
    secret: bytes,
    bench: OwnersBench,
    claim: Claim | None = None,
) -> Injected:
    """The network with the payload in it: without training, by one, or enrolled.

    Args:
        technology: how; with a recipe it is put in by training.
        network: it is not changed.
        payload: the bits.
        secret: 32 bytes, from which everything random follows.
        bench: of this network.
        claim: what `new_claim` made of just this before, for a training that goes on.

    Raises:
        InjectionError: the network cannot hold it, or it is not read back after an injection
            without training (`symbol_errors` tells what a training left wrong).
        ConfigurationError: the method needs a training and has no recipe, or the other way round.
        TrainingError: it cannot be trained.
        PluginError: a plug-in breaks its contract.
    """
    method = plugins.create(Method, technology.method)
    check_way(technology)
    claim = claim or new_claim(technology, network, payload, secret, bench)
    if (alone := plugins.embeds(method)) is not None:
        return _embedded(alone, technology, network, claim, payload, bench)
    if technology.recipe is not None:
        start = training.start_of(technology, network, bench.seed)
        start = training.widened(method, start, claim.key, bench.through_file)
        trained, claim = _trained(technology, network, start, claim, bench)
        marked = guard.checked_network(method, "train", trained.network, start)
        return Injected(marked, claim, payload, trained)
    static = plugins.injects(method)
    if static is None:
        return Injected(network, claim, payload)
    marked, claim = _put_in(static, network, claim, bench)
    return Injected(marked, claim, payload)


def check_way(technology: Technology) -> None:
    """Refuse a training for a method that none puts in, and none for one that needs it."""
    method = plugins.create(Method, technology.method)
    if technology.recipe is not None:
        training_method(method)
        guard.guarded(method, "check", lambda: method.check("training"))
    elif plugins.injects(method) is not None:
        guard.guarded(method, "check", lambda: method.check("injection"))
    elif plugins.injects(method) is None and not plugins.enrols(method):
        raise ConfigurationError(
            f"{method.name}: expected a training, because this method is put in by training only, "
            "got none; give a configuration that says what is trained on"
        )
    else:
        guard.guarded(method, "check", lambda: method.check(None))


def train_twin(technology: Technology, network: OnnxNetwork, bench: OwnersBench) -> Trained:
    """The same training without a watermark.

    Raises:
        TrainingError: there is no recipe, or it cannot be trained.
    """
    start = training.start_of(technology, network, bench.seed)
    return bench.train(start, _job(technology, network, bench))


def symbol_errors(claim: Claim, suspect_of: SuspectOf) -> int | None:
    """Symbols of a claim that are read wrongly; None where nothing is read.

    Raises:
        CarrierNotFoundError: the carrier is not in this network.
    """
    decoding = read(suspect_of, claim.key)
    if decoding is None or claim.payload is None:
        return None
    return claim.payload.errors(decoding.payload)


def _embedded(
    method: Embeds,
    technology: Technology,
    network: OnnxNetwork,
    claim: Claim,
    payload: Payload,
    bench: OwnersBench,
) -> Injected:
    """What a method makes that carries its injection out by itself; its key has what it learnt."""
    start, job, what = network, None, "inject"
    if technology.recipe is not None:
        start, what = training.start_of(technology, network, bench.seed), "train"
        job = replace(_job(technology, network, bench), output=bench.output)
    symbols = claim.payload or Payload()
    with guard.unchanged(claim.key.arrays), bench.telling_epochs() as tell:
        made = guard.guarded(
            method, what, lambda: method.embed(start, symbols, claim.key, job, tell)
        )
    made = guard.checked_embedded(method, what, made, start)
    key = commitments.learnt(claim.key, symbols, made.state)
    marked = guard.checked_network(method, what, made.network, start)
    return Injected(marked, replace(claim, key=key), payload, None if job is None else made)


def _put_in(
    method: Injects, network: OnnxNetwork, claim: Claim, bench: OwnersBench
) -> tuple[OnnxNetwork, Claim]:
    """The network with a claim in it, and the claim with notes on the grid that carries it."""
    payload, key = claim.payload or Payload(), claim.key

    def once(start: OnnxNetwork) -> OnnxNetwork:
        with guard.unchanged(key.arrays):
            marked = guard.guarded(
                method, "inject", lambda: method.inject(start, payload, key, bench)
            )
        return guard.checked_network(method, "inject", marked, start, any_architecture=True)

    put = grids.put(network, key, once, lambda it: symbol_errors(claim, bench.suspect_of(it)))
    if put.notes:
        claim = replace(claim, key=replace(key, notes=(*key.notes, *put.notes)))
    return put.network, claim


def _trained(
    technology: Technology,
    network: OnnxNetwork,
    start: OnnxNetwork,
    claim: Claim,
    bench: OwnersBench,
) -> tuple[Trained, Claim]:
    """The training that puts a claim in, and the claim with the arrays that it has learnt."""
    method = plugins.create(Method, technology.method)
    added = training.Added(training_method(method), start, claim)
    job = _job(technology, network, bench, added.additions, watch_of(method, start, bench, added))
    trained = bench.train(start, job)
    return trained, added.learnt(trained.state)


def watch_of(
    method: Method, network: OnnxNetwork, bench: OwnersBench, added: training.Added
) -> Callable[[Network], float] | None:
    """What reads the Symbol Error Rate at the end of an epoch; None where nothing is read."""
    size = added.claim.key.size

    def watch(now: Network) -> float:
        seen = guard.checked_network(method, "train", now, network)
        wrong = symbol_errors(added.claim, bench.suspect_of(seen))
        return 0.0 if wrong is None else wrong / size

    return watch if plugins.decodes(method) is not None and size else None


def training_method(method: Method) -> Trains:
    """The method as one that training puts in; raises `ConfigurationError` where it is none."""
    found = plugins.trains(method)
    if found is None:
        raise ConfigurationError(
            f"training: expected a method that training can put in, got {method.name}; leave the "
            "training out"
        )
    return found


def _job(
    technology: Technology,
    network: OnnxNetwork,
    bench: OwnersBench,
    additions: Additions | None = None,
    watch: Callable[[Network], float] | None = None,
) -> Job:
    if technology.recipe is None:
        raise TrainingError(
            f"{technology.method.name}: expected a recipe of its training, got none; add "
            "[methods.training]"
        )
    seed = training.job_seed(technology.recipe, network, bench.seed)
    return Job(
        bench.samples(), technology.recipe, bench.loss, seed, additions=additions, watch=watch
    )
