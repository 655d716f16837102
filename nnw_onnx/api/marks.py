"""Put a watermark in, and tell what is in a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnw_onnx import plugins
from nnw_onnx.api import arguments
from nnw_onnx.api.arguments import AnyNetwork, Layers, Options
from nnw_onnx.errors import CarrierNotFoundError, ConfigurationError
from nnw_onnx.graph import OnnxNetwork
from nnw_onnx.vocabulary import (
    Claim,
    Decoding,
    Detection,
    Feeds,
    Found,
    Key,
    Method,
    Network,
    Payload,
    Samples,
    Values,
)

if TYPE_CHECKING:
    from nnw_onnx.runs.commitment import Commitment
    from nnw_onnx.runs.evaluation import Evaluation
    from nnw_onnx.runs.marks import Mark
    from nnw_onnx.runs.model_record import Record
    from nnw_onnx.runs.verify import Verdict


@dataclass(frozen=True)
class Injection:
    """A watermarked network with what is needed to find the watermark again.

    Attributes:
        network: the watermarked network; `.save(path)` writes it, `.to_proto()` and `.to_bytes()`
            have it in memory.
        claim: key and Symbols: what a key file holds; secret.
        payload: the bits that were injected.
        change: RMS change of the carrier / population standard deviation of its weights (>= 0).
        notes: plain words on how carrier and strength were chosen.
    """

    network: OnnxNetwork
    claim: Claim
    payload: Payload
    change: float
    notes: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The key alone, which does not tell the payload; secret."""
        return self.claim.key

    def __repr__(self) -> str:
        changed = f"weights changed by {self.change:.2%} of their standard deviation"
        return f"<Injection: {repr(self.key).removeprefix('<Key: ').rstrip('>')}, {changed}>"


def open(network: AnyNetwork) -> OnnxNetwork:
    """The network of an ONNX file or in memory, opened as untrusted input; nothing of it is run.

    Args:
        network: the path of an .onnx file (`model.export` of Keras and most exporters write one),
            or a network in memory: what `torch.onnx.export(..., dynamo=True)` returns, an
            `onnx.ModelProto` (skl2onnx, jax2onnx, ...), the pair that tf2onnx returns, an
            `onnx_ir.Model`, or serialized bytes. These are copied; later changes do not count.
            What is open already stays as it is.

    Returns:
        The network; `.save(path)`, `.to_proto()` and `.to_bytes()` give it to others.

    Raises:
        ModelFileError: the network is missing, broken or hostile; one in memory has values in other
            files, or more than 2 GiB, which only a file with external data holds.
        ConfigurationError: it is something else, such as a network of a framework.
    """
    return arguments.opened(network)


def inject(
    network: AnyNetwork,
    payload: Payload | str,
    *,
    method: str = "block-spread",
    options: Options | None = None,
    code: str | None = None,
    code_options: Options | None = None,
    layer: Layers | None = None,
    reference: AnyNetwork | None = None,
    seed: int | None = None,
    secret: bytes | None = None,
    training: str | Path | Evaluation | None = None,
    data: str | Path | None = None,
    work_folder: str | Path | None = None,
    providers: Sequence[str] = (),
    record: Record = False,
) -> Injection:
    """Put a payload into a network, without training or by one; or enrol a fingerprint.

    Args:
        network: a file, a network in memory (see `open`) or an open one; it is not changed.
        payload: a text, or bits such as `Payload.from_hex("c0ffee")`; `Payload()` for a method that
            carries none.
        method: name of the method; "block-spread" is the most imperceptible and robust.
        options: options of the method, see `nnw list methods`.
        code: name of an error-correcting code between payload and network, see `nnw list codes`.
        code_options: options of the code.
        layer: name of the carrier layer, or names; chosen by the method if None.
        reference: a public network that this one was made from. Layers that are still equal to one
            of it, or within 1 % of its norm, carry nothing: anybody can write them back. Only
            without training.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        secret: 32 bytes for the key instead, such as `secret_of(read_seed(path), label)`.
        training: configuration whose `[dataset]`, `[training]` and `[methods.training]` say what is
            trained on and how: a file, the name of a shipped evaluation, or a value. None injects
            without training, which some methods cannot.
        data: folder or file of that data set, instead of the one in the configuration.
        work_folder: where a training keeps its state, so that one that was interrupted goes on.
        providers: what networks are run with instead of those in the configuration, such as "cuda".
        record: True writes the commitment, the method and the version of this package into the
            metadata of the model, "payload" the payload too, for whoever keeps models; never the
            key. Anybody can read, change or remove a record: it is no evidence, and tells an
            attacker what to look for.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; or a training does not
            bring it in so that the Detector says Yes (`notes` tell of Symbols that stay wrong).
        TrainingError, DatasetError: the network cannot be trained, or not on these data.
        ConfigurationError: an option is wrong.
        ModelFileError: the file cannot be opened, or has no weights that can be replaced.
    """
    from nnw_onnx.runs import single
    from nnw_onnx.runs.model_record import expect_record, recorded
    from nnw_onnx.runs.modify import change_of

    expect_record(record)
    arguments.check_secret(secret, seed)
    opened, payload = (
        arguments.beside(arguments.opened(network), reference, training),
        Payload.of(payload),
    )
    technology = arguments.technology_of(method, options, code, code_options, layer, payload)
    if not plugins.enrols(plugins.create(Method, technology.method)):
        arguments.check_weights(opened)
    arguments.settings_of(providers)
    how = single.how_to_train(training, data, work_folder, arguments.log.info, providers)
    made = single.inject(opened, payload, technology, seed, how, secret)
    key = made.claim.key
    change = change_of(opened, made.network, key.layers)
    labelled = recorded(made.network, key, payload, record)
    return Injection(labelled, made.claim, payload, change or 0.0, key.notes)


def make_mark(
    network: Network,
    payload: Payload | str,
    *,
    method: str = "uchida",
    options: Options | None = None,
    code: str | None = None,
    code_options: Options | None = None,
    layer: Layers | None = None,
    seed: int | None = None,
    secret: bytes | None = None,
    samples: Samples | None = None,
    run: Callable[[Feeds, Sequence[str]], Values] | None = None,
) -> Mark:
    """A watermark to be put in by a training of your own.

    The adapters do this for a network of their framework. `mark.additions` is what the training has
    to do; `save_key(mark.claim, path)` keeps key and payload, after the training for a method that
    learns something of its own.

    Args:
        network: what is to be trained, as the core sees networks; it is not changed.
        payload: a text, or bits.
        method: name of a method that training can put in.
        options: options of the method, see `nnw list methods`.
        code: name of an error-correcting code, see `nnw list codes`.
        code_options: options of the code.
        layer: name of the carrier layer, or names; chosen by the method if None.
        seed: makes the key repeatable, and only as secret as the seed; None draws a fresh secret.
        secret: see `inject`.
        samples: some samples of the training, for a method that needs data.
        run: asks the network (feeds, names of inner layers), for a method that needs its answers.

    Raises:
        InjectionError: no layer, or not this one, can hold the payload; triggers do not fit.
        ConfigurationError, PluginError: an option or the method does not exist, training cannot put
            it in, or it needs what is not given.
    """
    from nnw_onnx.runs import marks, seeds

    arguments.check_secret(secret, seed)
    payload = Payload.of(payload)
    technology = arguments.technology_of(method, options, code, code_options, layer, payload)
    drawn = seeds.secret(seed, layers=[[x.name, list(x.shape)] for x in network.layers])
    fresh = secret or drawn
    return marks.make_mark(technology, network, payload, fresh, samples, run)


def verify(
    network: AnyNetwork,
    claim: Claim | Key,
    *,
    false_positive_rate: float = 1e-6,
    layer: str | None = None,
    reference: AnyNetwork | None = None,
    run: bool = False,
    inputs: Feeds | str | Path | None = None,
    wrong_keys: int = 0,
    timeout: float = 600.0,
    memory_limit: int | None = None,
    providers: Sequence[str] = (),
) -> Verdict:
    """Everything that a claim tells of a network: what is decoded, detected and wrong.

    The network is asked once; `.payload` has the bits after the code. A carrier is looked for under
    its name; where that is gone or says No, every live layer of its shape is read, turned and
    joined ones too, with a p-value corrected for their number (see `.found`). A claim whose carrier
    is not in the network is "not-applicable", with the answer No and p = 1.

    Args:
        network: a file, a network in memory (see `open`) or an open one.
        claim: of a key file; a key alone is only decoded. A payload that the commitment of its key
            does not bind is read, and is no claim: the answer is No.
        false_positive_rate: probability, in (0, 1), of a yes for a network made without the key; a
            search after a No adds a hundredth of it.
        layer: name of the layer to read, whatever the key calls its carrier.
        reference: the network as it was before the mark. The claim is heard on the network put
            back into its order: channels that changed places, their scales and signs, dummies,
            missing channels, folded normalisations, other names. The key takes no part in that, so
            the p-value needs no correction.
        run: whether a Yes from weights is tried by running the network with other weights in their
            place: weights that no answer depends on carry nothing. It costs a second or two.
        inputs: samples of the network's own kind for that, by input, or an .npz file of them; some
            are drawn if None. A network can be made to tell drawn ones from its own.
        wrong_keys: random keys that are tried on the same network, of methods that only read
            weights and of keys made elsewhere; the p-value by rank among them decides where no null
            is exact.
        timeout: seconds for a network that must be run, which is done in another process.
        memory_limit: bytes that this process may take (Linux only); None allows what a network of
            its size may need on the CPU.
        providers: what a network that must be run is run with, in order of preference, such as
            "cuda"; the CPU if there are none, as whether answers depend on weights is always tried.

    Raises:
        InferenceError: a network that must be run crashes, hangs or does not run, or a provider
            does not work.
        ConfigurationError: the rate is no rate, no null distribution is known, there is no such
            layer, or a reference is nothing for this method or key.
    """
    from nnw_onnx.runs import verify as verifying
    from nnw_onnx.runs.suspect import isolated, suspects

    opened = arguments.opened(network)
    whole = arguments.whole_claim(claim)
    limits = timeout, memory_limit, arguments.settings_of(providers)
    suspect_of: verifying.SuspectOf = suspects(opened, isolated(opened, *limits))
    tried = _probe(opened, inputs, timeout) if run or inputs else None
    search = verifying.Search(thorough=True, layer=layer, probe=tried)
    if reference is None:
        verdict = next(verifying.verify(suspect_of, [whole], false_positive_rate, search))
    else:
        from nnw_onnx.runs import resync

        verdict, suspect_of = resync.alone(
            opened,
            arguments.opened(reference),
            whole,
            false_positive_rate,
            search,
            lambda network: isolated(network, *limits),
        )
    if wrong_keys:
        from nnw_onnx.runs import ranking

        unprobed = verifying.Search(thorough=True, layer=layer)
        verdict = ranking.ranked(suspect_of, verdict, wrong_keys, false_positive_rate, unprobed)
    return verifying.as_claimed(verdict, false_positive_rate)


def _probe(
    network: OnnxNetwork, inputs: Feeds | str | Path | None, timeout: float
) -> Callable[[tuple[Found, ...]], tuple[Found, ...]]:
    from nnw_onnx.runs import dependence

    return dependence.probe(network, arguments.inputs_of(inputs), min(timeout, dependence.TIMEOUT))


def decode(
    network: AnyNetwork,
    claim: Claim | Key,
    *,
    layer: str | None = None,
    reference: AnyNetwork | None = None,
    timeout: float = 600.0,
    memory_limit: int | None = None,
    providers: Sequence[str] = (),
) -> Decoding:
    """Read the Symbols of a network: from its weights, or from what it answers.

    They are as the network holds them; where a code or an alphabet stands between them and the
    payload, `verify` has its bits. A carrier whose name is gone is the place that fits the payload
    of the claim best, or that is read most surely where there is none. See `verify` for the others.

    Raises:
        CarrierNotFoundError: the carrier layer, the inputs or the classes are not in this network.
        ConfigurationError: the method only says whether the watermark is there.
        InferenceError: see `verify`.
    """
    whole = arguments.whole_claim(claim)
    verdict = verify(
        network,
        whole,
        layer=layer,
        reference=reference,
        timeout=timeout,
        memory_limit=memory_limit,
        providers=providers,
    )
    if verdict.reason is not None and verdict.decoding is None:
        raise CarrierNotFoundError(verdict.reason)
    if verdict.decoding is None:
        raise ConfigurationError(
            f"{whole.key.method.name}: expected a method that reads Symbols, got one that only "
            "says whether the watermark is there; use detect"
        )
    return verdict.decoding


def detect(
    network: AnyNetwork,
    claim: Claim | Key,
    payload: Payload | str | None = None,
    *,
    false_positive_rate: float = 1e-6,
    layer: str | None = None,
    reference: AnyNetwork | None = None,
    run: bool = False,
    inputs: Feeds | str | Path | None = None,
    wrong_keys: int = 0,
    timeout: float = 600.0,
    memory_limit: int | None = None,
    providers: Sequence[str] = (),
) -> Detection:
    """Decide whether a payload is in a network; the answer is true or false as it is.

    A network without the carrier is a No with p = 1; `notes` say why. See `verify` for the others.

    Args:
        network: a file, a network in memory (see `open`) or an open one.
        claim: of a key file, or a key alone.
        payload: the text or bits that the commitment of the key binds, where they are not in the
            claim; any others are no claim, because they could have been read from the network, and
            the answer is No.
        false_positive_rate: probability, in (0, 1), of a yes for a network made without the key.
        layer: see `verify`.
        reference: see `verify`.
        run: see `verify`.
        inputs: see `verify`.
        wrong_keys: see `verify`.
        timeout: see `verify`.
        memory_limit: see `verify`.
        providers: see `verify`.

    Raises:
        ConfigurationError: there is no payload to look for, or no null distribution is known.
        InferenceError: see `verify`.
    """
    from nnw_onnx.runs.verify import later

    whole = arguments.whole_claim(claim)
    if payload is not None:
        whole = later(whole, arguments.symbols_of_claim(whole.key, Payload.of(payload)))
    verdict = verify(
        network,
        whole,
        false_positive_rate=false_positive_rate,
        layer=layer,
        reference=reference,
        run=run,
        inputs=inputs,
        wrong_keys=wrong_keys,
        timeout=timeout,
        memory_limit=memory_limit,
        providers=providers,
    )
    found = verdict.detection
    if found is None:
        raise ConfigurationError(
            "payload: expected one with the key or beside it, got none; give the injected payload"
        )
    return found.decided(false_positive_rate) if found.detected is None else found


def verify_commitment(
    claim: Claim | Key,
    original: AnyNetwork | Network,
    *,
    published: str | None = None,
    recorded: AnyNetwork | None = None,
) -> Commitment:
    """Whether a commitment binds this key and payload, and this unmarked network.

    As `bool` it is the answer. It binds secret, method with its options, carriers with their
    weights, and payload; `kit.commitments` says what that protects. Keys of earlier versions leave
    the options open (`Commitment.options`).

    Args:
        claim: of a key file.
        original: the network before the mark was put in: a file, a network in memory (see `open`),
            an open one, or that of an adapter.
        published: the hash that was published; that of the key file if None, which its owner could
            have made at any time.
        recorded: a network whose metadata have the hash instead, see `record` of `inject`; it is
            worth as much as a hash that anybody wrote there, so compare it with the published one.

    Raises:
        ConfigurationError: there is no commitment, `published` is no hash, or it is given twice.
    """
    from nnw_onnx.runs import commitment

    if recorded is not None:
        published = arguments.recorded_instead(recorded, published)
    unmarked = arguments.opened_or_own(original)
    return commitment.verify_commitment(arguments.whole_claim(claim), unmarked, published)
