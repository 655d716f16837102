"""Reading and writing data objects: the only place of the room that opens their files.

Every file is untrusted input: sizes are bounded, and nothing in it is executed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from nnw_onnx.aif.types import CostFile, CountErrorFile, Data, PayloadFile
from nnw_onnx.datasets._npz_arrays import NpzArrays
from nnw_onnx.errors import DatasetError, FrameworkError
from nnw_onnx.kit import reading
from nnw_onnx.kit.samples import ArraySamples, batches
from nnw_onnx.kit.writing import replacing
from nnw_onnx.vocabulary import Array, Json, Payload, Samples, Scale, Values

MOST_JSON = 1 << 26
"""Bytes of a JSON document whose data are no file of their own."""
MOST_OBJECT = 1 << 30
"""Bytes of a file that goes into a JSON object, or comes out of one."""
_ABOUT, _INPUTS, _LABELS = "about", "inputs", "labels"
_PART = 1 << 20
_SCALE = TypeAdapter(Scale)


def content(path: Path, most: int = MOST_JSON) -> bytes:
    """All bytes of a file; raises `FrameworkError` where it is missing, no file or larger."""
    try:
        return reading.content(path, most)[0]
    except OSError as error:
        raise FrameworkError(
            f"{path}: expected a file that can be read, got: {error.strerror}; correct it"
        ) from error


def write(path: Path, data: bytes) -> None:
    """Write a file, all of it or nothing; raises `FrameworkError` where that cannot be."""
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise FrameworkError(
            f"{path}: expected a place where a file can be written, got: {error.strerror}; choose "
            "another folder"
        ) from error


def copy(data: Data, folder: Path) -> Data:
    """The data object in another folder, under the same name."""
    for path in data.files:
        shutil.copyfile(path, folder / path.name)
    return type(data)(folder / data.path.name)


def append(path: Path, line: str) -> None:
    """Append a line of text to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def make_folder(path: Path) -> Path:
    """A folder that is new or empty; raises `FrameworkError` where something lies in it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = sorted(one.name for one in path.iterdir())
    except OSError as error:
        raise FrameworkError(
            f"{path}: expected a folder that can be written, got: {error.strerror}; choose another"
        ) from error
    if there:
        raise FrameworkError(
            f"{path}: expected a new or empty folder, got one with {there[0]}; choose another"
        )
    return path


def digest(data: Data) -> tuple[str, int]:
    """SHA-256 (hex) of the files of a data object, one after the other, and their size in bytes."""
    state, size = hashlib.sha256(), 0
    for path in data.files:
        with path.open("rb") as file:
            while part := file.read(_PART):
                state.update(part)
                size += len(part)
    return state.hexdigest(), size


def as_json(value: object) -> bytes:
    """JSON in a form that is always the same: keys in their order, a line each."""
    return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"


def from_json(path: Path, most: int = MOST_JSON) -> dict[str, Json]:
    """The object in a JSON file; raises `FrameworkError` where it holds none."""
    return parsed(content(path, most), path.name)


def parsed(data: bytes, name: str) -> dict[str, Json]:
    """The object of a JSON document; `name` is for messages."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FrameworkError(
            f"{name}: expected JSON, got what is none: {str(error)[:120]}; correct it"
        ) from error
    if not isinstance(found, dict):
        raise FrameworkError(
            f"{name}: expected a JSON object, got a {type(found).__name__}; correct it"
        )
    return found


def described(kind: type[Data], name: str, data: Json, words: str = "") -> dict[str, Json]:
    """The JSON object of a type: its header, an identifier and its data."""
    found: dict[str, Json] = {
        "Header": kind.header(), f"{kind.name}ID": name, f"{kind.name}Data": data,
    }  # fmt: skip
    return {**found, "DescrMetadata": words} if words else found


def data_in(kind: type[Data], value: Mapping[str, Json], name: str) -> Json:
    """The data of the JSON object of a type; raises `FrameworkError` for one of another type."""
    if value.get("Header") != kind.header():
        raise FrameworkError(
            f"{name}: expected the header {kind.header()}, got {value.get('Header')!r}; give a "
            "data object of that type"
        )
    if f"{kind.name}Data" not in value:
        raise FrameworkError(f"{name}: expected {kind.name}Data, got none; correct it")
    return value[f"{kind.name}Data"]


def as_object(data: Data, name: str) -> dict[str, Json]:
    """The JSON object of a data object; what is a file of its own is there in base64.

    Raises:
        FrameworkError: it has external data, which no single object holds.
    """
    if data.suffix == ".json":
        return from_json(data.path)
    if len(data.files) > 1:
        raise FrameworkError(
            f"{data.path.name}: expected a network in one file, got one with external data; give "
            "the file itself"
        )
    return described(type(data), name, base64.b64encode(content(data.path, MOST_OBJECT)).decode())


def given(kind: type[Data], path: Path, place: Path) -> Data:
    """A data object in a file that somebody gives, as itself or as the JSON object of its type.

    Args:
        kind: type that is expected.
        path: the file.
        place: where what is in an object is written to.
    """
    if path.suffix != ".json":
        if kind.suffix == ".json" or not path.is_file():
            raise FrameworkError(
                f"{path}: expected a file with {kind.header()} ({kind.suffix}, or its JSON "
                "object), got another or none; correct it"
            )
        return kind(path)
    value = from_json(path, MOST_OBJECT * 4 // 3 + MOST_JSON)
    data = data_in(kind, value, path.name)
    if kind.suffix == ".json":
        return kind(path)
    try:
        write(place, base64.b64decode(str(data), validate=True))
    except ValueError as error:
        raise FrameworkError(
            f"{path.name}: expected {kind.name}Data in base64, got another text; correct it"
        ) from error
    return kind(place)


def write_payload(path: Path, payload: Payload) -> PayloadFile:
    """Write Symbols: bits as they are, others each in as few bits as hold the alphabet."""
    width = max(1, (payload.alphabet - 1).bit_length())
    bits = "".join(f"{symbol:0{width}b}" for symbol in payload.symbols)
    words = "" if payload.alphabet == 2 else f"alphabet={payload.alphabet}"
    write(path, as_json(described(PayloadFile, path.stem, bits, words)))
    return PayloadFile(path)


def read_payload(file: PayloadFile) -> Payload:
    """Symbols of a file; raises `FrameworkError` where it holds none."""
    value = from_json(file.path)
    bits = data_in(PayloadFile, value, file.path.name)
    alphabet = _alphabet(value.get("DescrMetadata", ""), file.path.name)
    width = max(1, (alphabet - 1).bit_length())
    whole = isinstance(bits, str) and bits and not set(bits) - {"0", "1"}
    if not isinstance(bits, str) or not whole or len(bits) % width:
        raise FrameworkError(
            f"{file.path.name}: expected PayloadData of 0 and 1, {width} a Symbol, got another "
            "value; correct it"
        )
    symbols = tuple(int(bits[at : at + width], 2) for at in range(0, len(bits), width))
    if max(symbols) >= alphabet:
        raise FrameworkError(
            f"{file.path.name}: expected Symbols below {alphabet}, got {max(symbols)}; correct it"
        )
    return Payload(symbols, alphabet)


def _alphabet(words: Json, name: str) -> int:
    """The alphabet that DescrMetadata tells; 2 where it tells none."""
    if not isinstance(words, str) or not words.startswith("alphabet="):
        return 2
    digits = words.removeprefix("alphabet=")
    if not (digits.isascii() and digits.isdecimal() and int(digits[:9]) >= 2 and len(digits) <= 9):
        raise FrameworkError(
            f"{name}: expected an alphabet of at least 2, got {words[:40]!r}; correct it"
        )
    return int(digits)


def write_count(path: Path, count: int) -> CountErrorFile:
    """Write a number of Symbols that differ."""
    write(path, as_json(described(CountErrorFile, path.stem, count)))
    return CountErrorFile(path)


def read_count(file: CountErrorFile) -> int:
    """The number in a file; raises `FrameworkError` where there is none."""
    count = data_in(CountErrorFile, from_json(file.path), file.path.name)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise FrameworkError(
            f"{file.path.name}: expected CountErrorData to be a whole number of at least 0, got "
            f"{str(count)[:40]!r}; correct it"
        )
    return count


def write_cost(path: Path, record: Mapping[str, Json]) -> CostFile:
    """Write one measurement."""
    write(path, as_json(described(CostFile, path.stem, dict(record))))
    return CostFile(path)


def read_cost(file: CostFile) -> dict[str, Json]:
    """One measurement; raises `FrameworkError` where the file holds none."""
    record = data_in(CostFile, from_json(file.path), file.path.name)
    if not isinstance(record, dict):
        raise FrameworkError(
            f"{file.path.name}: expected CostData to be an object, got another value; correct it"
        )
    return record


def write_samples(path: Path, samples: Samples, batch_size: int) -> None:
    """Write samples that are fitted to a network, whole: `inputs`, `labels` and what is known.

    A network of several inputs has `inputs/NAME` for each of them.

    Raises:
        FrameworkError: targets of different sizes, which no array holds.
    """
    read = list(batches(samples, batch_size))
    targets = [batch.targets for batch in read]
    if not all(isinstance(one, np.ndarray) for one in targets):
        raise FrameworkError(
            "dataset: expected targets of one size, got one array a sample; use data of one size"
        )
    names = list(read[0].feeds)
    feeds = {name: np.concatenate([batch.feeds[name] for batch in read]) for name in names}
    about = {"names": names, "facts": dict(samples.facts), "scale": _scale_of(samples)}
    _write_arrays(
        path,
        {
            **{_member(name, names): values for name, values in feeds.items()},
            _LABELS: np.concatenate([np.asarray(one) for one in targets]),
            _ABOUT: np.array(json.dumps(about)),
        },
    )


def read_samples(path: Path) -> ArraySamples:
    """The samples of a file, not fitted; raises `DatasetError` where it is broken."""
    arrays = NpzArrays(path)
    names, facts, scale = _told(arrays, path.name)
    wanted = [_member(name, names) for name in names]
    if lost := [one for one in (*wanted, _LABELS) if one not in arrays.names]:
        raise DatasetError(
            f"{path.name}: expected arrays inputs and labels, got no {lost[0]}; save them so"
        )
    feeds = {name: arrays.read(one) for name, one in zip(names, wanted, strict=True)}
    return ArraySamples(feeds, arrays.read(_LABELS), facts, scale=scale)


def write_values(path: Path, values: Values) -> None:
    """Write the answers of a network; what is no tensor has its place and nothing in it."""
    _write_arrays(path, {name: _stored(told) for name, told in values.items()})


def read_values(path: Path) -> dict[str, Array]:
    """The answers of a network; raises `DatasetError` where the file is broken."""
    arrays = NpzArrays(path)
    return {name: _restored(arrays.read(name)) for name in arrays.names}


def _stored(told: Array) -> Array:
    if told.dtype != np.object_:
        return told
    if all(isinstance(one, str) for one in told.flat):
        return told.astype(np.str_)
    return np.zeros((len(told), 0), np.int8)


def _restored(told: Array) -> Array:
    if told.dtype.kind == "U":
        return told.astype(np.object_)
    nothing = told.dtype == np.int8 and told.ndim == 2 and told.shape[1] == 0
    return np.full(len(told), None, np.object_) if nothing else told


def _member(name: str, names: Sequence[str]) -> str:
    return _INPUTS if len(names) == 1 else f"{_INPUTS}/{name}"


def _scale_of(samples: Samples) -> dict[str, object] | None:
    return None if samples.scale is None else asdict(samples.scale)


def _told(arrays: NpzArrays, name: str) -> tuple[list[str], dict[str, Json], Scale | None]:
    """Names of the inputs, facts and scale; of a file that does not tell, one input."""
    if _ABOUT not in arrays.names:
        return [_INPUTS], {}, None
    about = parsed(str(arrays.read(_ABOUT)).encode(), f"{name}: {_ABOUT}")
    names, facts, scale = about.get("names"), about.get("facts"), about.get("scale")
    try:
        made = None if scale is None else _SCALE.validate_python(scale)
    except ValidationError as error:
        raise DatasetError(f"{name}: expected a scale in about, got another; correct it") from error
    if not isinstance(names, list) or not names or not isinstance(facts, dict):
        raise DatasetError(f"{name}: expected names and facts in about, got others; correct it")
    return [str(one) for one in names], facts, made


def _write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz file that is the same whenever it is written."""
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, values in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)
