"""Networks that were watermarked elsewhere: their files and keys, and what they come to in a run.

Nothing is injected: the watermarked network is the file, the method is that of the key, and the
cost of its injection is not measured. All the rest of an evaluation is as for any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nnw_onnx import plugins
from nnw_onnx.errors import ConfigurationError, RunError
from nnw_onnx.graph import OnnxNetwork, open_network
from nnw_onnx.kit import commitments
from nnw_onnx.runs import coding
from nnw_onnx.runs.checks import payload_sizes
from nnw_onnx.runs.keys import claim_digest, load_key
from nnw_onnx.runs.network_tables import NetworkTable, lost_files
from nnw_onnx.runs.places import network_paths
from nnw_onnx.runs.seeds import identity
from nnw_onnx.runs.settings import technologies_of
from nnw_onnx.runs.tables import Evaluation, MethodTable
from nnw_onnx.vocabulary import Claim, Key, Payload, Spec


@dataclass(frozen=True)
class MarkedFile:
    """One watermarked network that somebody else has made.

    Attributes:
        identity: of its injection: it follows from both networks and the claim.
        network: index of the unwatermarked network.
        technology: index of the technology of its key.
        payload_index: 0, 1, ... of that network and technology.
        file: the watermarked network.
        sha256: of that.
        key: the key file.
        payload: what it carries, in the words of the configuration, or None.
        claim: digest of the claim, its secret included.
    """

    identity: str
    network: int
    technology: int
    payload_index: int
    file: Path
    sha256: str
    key: Path
    payload: str | None
    claim: str


def with_methods(evaluation: Evaluation) -> Evaluation:
    """The evaluation with the methods of the keys of `[[networks]]` behind its own.

    Raises:
        KeyFileError, ConfigurationError, PluginError: a key cannot be used.
    """
    if lost := lost_files(evaluation.networks):
        raise ConfigurationError(*lost)
    found: list[MethodTable] = []
    for table in evaluation.marked:
        made = _method_table(claim_of_table(table).key)
        if made not in found:
            found.append(made)
    return evaluation.model_copy(update={"methods": (*evaluation.methods, *found)}).at(
        evaluation.folder
    )


def marked_files(
    evaluation: Evaluation, paths: Sequence[Path], sha256: Sequence[str]
) -> tuple[MarkedFile, ...]:
    """Everything that was marked elsewhere, opened once.

    Args:
        evaluation: with the methods of the keys.
        paths: files of the unwatermarked networks.
        sha256: their digests.

    Raises:
        ConfigurationError: a table names several networks, or the same file twice.
        ModelFileError, KeyFileError: what cannot be opened.
    """
    technologies = technologies_of(evaluation)
    elsewhere = [
        table.elsewhere for table in evaluation.methods for _ in payload_sizes(table, evaluation)
    ]
    found: list[MarkedFile] = []
    for table in evaluation.marked:
        claim, file = claim_of_table(table), Path(table.marked or "")
        network = paths.index(_only(table))
        wanted = (claim.key.method, claim.key.code, claim.key.carries)
        technology = next(
            i
            for i, (made, foreign) in enumerate(zip(technologies, elsewhere, strict=True))
            if foreign and (made.method, made.code, made.size) == wanted
        )
        before = sum((m.network, m.technology) == (network, technology) for m in found)
        opened, digest = open_network(file), claim_digest(claim)
        name = identity(
            purpose="marked elsewhere",
            network=sha256[network],
            marked=opened.sha256,
            claim=digest,
        )
        if any(other.identity == name for other in found):
            raise ConfigurationError(
                f"networks: expected marked networks that differ, got {file.name} twice; leave one "
                "out"
            )
        found.append(
            MarkedFile(
                name, network, technology, before, file.resolve(), opened.sha256,
                Path(table.key or "").resolve(), table.payload, digest,
            )
        )  # fmt: skip
    return tuple(found)


def claim_of_table(table: NetworkTable) -> Claim:
    """The claim of a table: the key file's, with the payload of the table where it has one."""
    return _claim(Path(table.key or ""), table.payload)


def claim_of_file(mark: MarkedFile) -> Claim:
    """The claim of a mark; raises `RunError` where its key file is another one by now."""
    claim = _claim(mark.key, mark.payload)
    if claim_digest(claim) != mark.claim:
        raise _changed(mark.key)
    return claim


def network_of_file(mark: MarkedFile) -> OnnxNetwork:
    """The watermarked network; raises `RunError` where the file is another one by now."""
    network = open_network(mark.file)
    if network.sha256 != mark.sha256:
        raise _changed(mark.file)
    return network


def payload_from(text: str, key: Key) -> Payload:
    """The bits that a configuration writes: digits 0 and 1, 0x and hexadecimal digits, or a text.

    Raises:
        ConfigurationError: there are not as many as the key carries.
    """
    if len(text) == key.carries and not set(text) - {"0", "1"}:
        return Payload.from_bits(text)
    found = Payload.from_hex(text[2:]) if text.startswith("0x") else Payload.from_text(text)
    if len(found) != key.carries:
        raise ConfigurationError(
            f"payload: expected {key.carries} bits, got {len(found)}; write them as digits 0 and "
            "1, as hexadecimal digits after 0x, or as a text"
        )
    return found


def _claim(path: Path, payload: str | None) -> Claim:
    claim = load_key(path)
    key, method, code = claim.key, plugins.method_of(claim.key), plugins.code_of(claim.key)
    claim = Claim(_with_options(key, method.spec(), None if code is None else code.spec()),
                  claim.payload, claim.of)  # fmt: skip
    if payload is not None:
        symbols = coding.symbols_of(method, code, payload_from(payload, key))
        claim = Claim(claim.key, symbols, claim.of)
    if method.alphabet and claim.payload is None:
        raise ConfigurationError(
            f"{path.name}: expected the payload with the key, or in the table, got neither; add "
            "payload"
        )
    if claim.payload is not None and commitments.binds(key, claim.payload) is False:
        raise ConfigurationError(
            f"{path.name}: expected the payload that the commitment of the key binds, got another; "
            "give the one that was bound"
        )
    return claim


def _with_options(key: Key, method: Spec, code: Spec | None) -> Key:
    """The key with every option of its method filled in, as technologies have them."""
    return replace(key, method=method, code=code)


def _method_table(key: Key) -> MethodTable:
    given: dict[str, object] = {**key.method.options, "name": key.method.name}
    if key.code is not None:
        given["code"] = {**key.code.options, "name": key.code.name}
    if key.carries:
        given["payload_sizes"] = (key.carries,)
    return MethodTable.model_validate(given).from_elsewhere()


def _only(table: NetworkTable) -> Path:
    paths = network_paths([table.file])
    if len(paths) != 1:
        raise ConfigurationError(
            f"networks: expected one network for {table.file!r}, which has a marked version, got "
            f"{len(paths)}; name it"
        )
    return paths[0]


def _changed(path: Path) -> RunError:
    return RunError(
        f"{path.name}: expected the file that the plan was made for, got another; start a new run"
    )
