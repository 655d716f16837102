"""Classes of the reference software's contract, asked in a process of their own.

Those of `tests/reference_classes` are written by the contract's signature alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import nnw_onnx as nnw
from nnw_onnx.cli.main import main
from nnw_onnx.errors import ConfigurationError, PluginError
from nnw_onnx.kit import permissions, spending
from nnw_onnx.vocabulary import Key, Payload
from nnw_onnx_torch.graph.module import OnnxModule
from nnw_onnx_torch.reference import asking, kept
from nnw_onnx_torch.reference.methods import (
    ReferenceDecoder,
    ReferenceDetector,
    ReferenceFingerprint,
)
from nnw_onnx_torch.reference.model import NamedModel

CLASSES = Path(__file__).resolve().parents[2] / "reference_classes"
DIGITS = Path(__file__).resolve().parents[3] / "models" / "digits"
MODEL, OTHER = DIGITS / "cnn-0.onnx", DIGITS / "cnn-1.onnx"
PAYLOAD = nnw.Payload.from_hex("c0ffee42")
SIGNS = """
class Signs:
    # The payload in the signs of the first weights of a layer.
    def Embedder(self, model, dictionary):
        weights = model.conv2.weight.data.flatten()
        for place, bit in enumerate(dictionary["payload"]):
            weights[place] = 0.2 if bit else -0.2
        model.conv2.weight.data = weights.view(model.conv2.weight.shape)

    def Decoder(self, model, dictionary):
        return (model.conv2.weight.flatten()[: dictionary["payload_size"]] > 0).int()
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes the code of a class to a file that may run."""
    opened = []

    def made(code: str, name: str = "theirs.py") -> Path:
        path = tmp_path / name
        path.write_text(code)
        leave = nnw.allow_code(path)
        leave.__enter__()
        opened.append(leave)
        return path

    yield made
    for leave in reversed(opened):
        leave.__exit__(None, None, None)


def inject(path: Path, name: str = "Signs", **options: object) -> nnw.Injection:
    given = {"file": str(path), "class_name": name, **options}
    return nnw.inject(MODEL, PAYLOAD, method="reference-decoder", options=given, seed=3)


def decoder_of(body: str) -> str:
    """`Signs` with another Decoder."""
    head = SIGNS.partition("    def Decoder")[0]
    return f"{head}    def Decoder(self, model, dictionary):\n        {body}\n"


def test_a_static_class_is_injected_found_and_decoded(write, tmp_path):
    marked = inject(write(SIGNS))
    assert marked.key.layers == ()
    marked.network.save(tmp_path / "marked.onnx")
    nnw.save_key(marked.claim, tmp_path / "key.npz")
    claim = nnw.load_key(tmp_path / "key.npz")
    verdict = nnw.verify(tmp_path / "marked.onnx", claim)
    assert (verdict.errors, verdict.payload) == (0, PAYLOAD)
    assert verdict.detection.null.name == "Bin(32, 1/2)"
    assert not nnw.detect(MODEL, claim)
    assert nnw.verify_commitment(claim, MODEL)
    assert not nnw.verify_commitment(claim, OTHER)


def test_only_weights_that_the_class_changed_are_others(write):
    marked = inject(write(SIGNS))
    before, after = nnw.open(MODEL).weights, marked.network.weights
    other = [n for n in before if not np.array_equal(before[n], after[n])]
    assert other == ["conv2.weight"]


def test_the_same_seed_gives_the_same_network_and_key(write):
    one, other = inject(path := write(SIGNS)), inject(path)
    assert one.network.digest == other.network.digest
    assert one.key == other.key


def test_a_key_names_no_folder_and_works_wherever_its_code_is(write, tmp_path):
    marked = inject(write(SIGNS))
    assert marked.key.method.options["file"] == "theirs.py"
    elsewhere = tmp_path / "moved" / "renamed.py"
    elsewhere.parent.mkdir()
    elsewhere.write_text(SIGNS)
    with nnw.allow_code(elsewhere):
        assert nnw.detect(marked.network, marked.claim)


def test_code_runs_only_with_leave(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text("raise SystemExit")
    with pytest.raises(ConfigurationError, match="expected leave to run this code of your own"):
        inject(path)
    path.write_text(SIGNS)
    with nnw.allow_code(path):
        marked = inject(path)
    with pytest.raises(ConfigurationError, match=r"theirs\.py: expected leave .* --allow-code"):
        nnw.detect(marked.network, marked.claim)


def test_leave_is_for_what_the_file_held_then(tmp_path):
    path = tmp_path / "theirs.py"
    path.write_text(SIGNS)
    with nnw.allow_code(path):
        path.write_text(f"{SIGNS}\n# changed\n")
        with pytest.raises(PluginError, match="expected the file that may run, got one that was"):
            inject(path)


def test_a_key_wants_the_code_that_it_was_made_with(write, tmp_path):
    path = write(SIGNS)
    marked = inject(path)
    path.write_text(f"{SIGNS}\n# changed\n")
    apart = permissions.named([path])
    token = permissions._permitted.set(apart)
    try:
        with pytest.raises(ConfigurationError, match="expected the code that the key was made"):
            nnw.detect(marked.network, marked.claim)
    finally:
        permissions._permitted.reset(token)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (".", "expected a file of code that may run, got: a folder or device; name the file"),
        ("absent.py", "expected a file of code that may run, got: No such file or directory; name"),
        ("large.py", "expected a file of code that may run, got: more than 4 MiB"),
    ],
)
def test_leave_is_for_a_file_of_code(tmp_path, file, message):
    (tmp_path / "large.py").write_bytes(b"#" * (1 << 22) + b"##")
    with pytest.raises(ConfigurationError, match=message):
        nnw.allow_code(tmp_path / file)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Sings: pass", "expected a class Signs, got Sings (did you mean 'Sings'?)"),
        ("Signs = 3", "expected a class Signs, got none; correct class_name"),
        ("import nothing_there", "ModuleNotFoundError in line 1: No module named 'nothing_there'"),
        ("class Signs", "expected an answer, got SyntaxError"),
        ("exit(0)", "expected an answer, got SystemExit"),
        ("import os; os._exit(0)", "got an end: ended its process with exit code 0"),
        ("import os, signal; os.kill(os.getpid(), 11)", "got an end: killed by signal 11"),
        (
            "class Signs:\n    def Embedder(self, model, dictionary): pass",
            "Decoder: expected a class with it, got one with Embedder of the contract",
        ),
        (
            SIGNS.replace("def Decoder(self, model, dictionary)", "def Decoder(self, model)"),
            "Decoder: expected a function of 2 arguments, got one that takes others",
        ),
        (
            SIGNS.replace("def Embedder(", "def Embedder_one_step("),
            "got one with Embedder_one_step, Decoder of the contract; add a table",
        ),
        (f"{SIGNS}\n    Embedder = 3", "Embedder: expected a function, got 3"),
        (
            SIGNS.replace("0.2 if bit", "float('nan') if bit"),
            "Embedder: expected weights that fit the network, got",
        ),
        (
            SIGNS.replace("weights.view(model.conv2.weight.shape)", "weights"),
            "Embedder: expected weights that fit the network, got",
        ),
        (
            SIGNS.replace("weights[place] = ", "dictionary['net'] = torch.nn.Linear(2, 2); _ = ")
            + "\nimport torch",
            r"dictionary['net']: expected numbers, texts, arrays, tensors and tables of them, got "
            "Linear",
        ),
        (
            f"{SIGNS}\n    def __init__(self, needs): pass",
            "got TypeError",
        ),
        (
            f"x = bytearray(1 << 40)\n{SIGNS}",
            "got none: it ran out of memory",
        ),
    ],
)
def test_what_is_wrong_with_a_class_is_told_in_one_line(write, code, message):
    with pytest.raises(nnw.NnwError) as error:
        inject(write(code))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [0.5] * 32", "Decoder: expected 32 Symbols 0 or 1, got 32 numbers"),
        ("return [float('nan')] * 32", "expected 32 Symbols 0 or 1, got 32 numbers"),
        ("return [0] * 31", "expected 32 Symbols 0 or 1, got 31 numbers"),
        ("return [[0] * 8] * 4", "expected 32 Symbols 0 or 1, got 32 numbers of shape (4, 8)"),
        ("return 'yes'", "expected 32 bits, got 'yes'"),
        ("return None", "expected 32 Symbols 0 or 1, got 1 numbers of shape ()"),
        ("return object()", "expected 32 bits, got <object"),
        ("raise KeyError('gone')", ": 'gone'; mend the class"),
        ("model(torch.zeros(1, 1, 8, 8)); return [0] * 32", "got NameError"),
        (
            "import torch; model(torch.zeros(1, 1, 8, 8)); return [0] * 32",
            "expected a function that reads weights, got one that runs the network; set access",
        ),
        ("import sys; sys.exit(0)", "got SystemExit"),
    ],
)
def test_an_answer_that_is_none_is_told_in_one_line(write, body, message):
    with pytest.raises(PluginError) as error:
        nnw.decode(*_marked(inject(write(decoder_of(body)))))
    assert message in str(error.value)
    assert str(error.value).startswith("Signs (theirs.py): Decoder: ")


def _marked(made: nnw.Injection) -> tuple[object, object]:
    return made.network, made.claim


def test_an_endless_loop_costs_its_time_limit_and_no_more(write):
    marked = inject(write(decoder_of("while True: pass")), timeout=2.0)
    with pytest.raises(PluginError, match=r"decode: expected an answer, got none within 2 s"):
        nnw.decode(*_marked(marked))
    assert nnw.open(MODEL)  # and the next question is answered by a process that starts anew
    assert inject(write(SIGNS)).key


def test_what_a_class_prints_disturbs_nothing(write):
    noisy = "import os, sys\n" + SIGNS.replace(
        "        weights =",
        "        print('x'); os.write(1, b'y'); sys.stderr.write('z')\n        weights =",
    )
    assert nnw.decode(*_marked(inject(write(noisy)))).payload == PAYLOAD


def test_a_class_that_writes_into_its_channels_is_told_in_one_line(write):
    body = """import os
        for channel in range(3, 64):
            try: os.write(channel, b'\\xff' * 64)
            except OSError: pass
        return [0] * 32"""
    marked = inject(write(decoder_of(body)))
    with pytest.raises(PluginError, match="decode: expected an answer, got "):
        nnw.decode(*_marked(marked))
    assert inject(write(SIGNS)).key


def test_what_a_class_leaves_in_globals_is_gone_with_its_answer(write):
    body = "global seen; seen = globals().get('seen', 0) + 1; return [int(seen == 1)] * 32"
    marked = inject(write(decoder_of(body)))
    first, second = (nnw.decode(*_marked(marked)).payload for _ in range(2))
    assert first == second


def test_relative_files_go_into_a_folder_that_is_thrown_away(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asking, "_server", functools.cache(asking._server.__wrapped__))
    body = "open('left.txt', 'w').write('x'); return [0] * 32"
    nnw.decode(*_marked(inject(write(decoder_of(body)))))
    assert not (tmp_path / "left.txt").exists()
    body = "import os; return [int(os.getcwd() == dictionary['work_dir'])] * 32"
    here = nnw.decode(*_marked(inject(write(decoder_of(body)))))
    body = "return [1] * 32"
    assert here.payload == nnw.decode(*_marked(inject(write(decoder_of(body))))).payload
    asking._server().stop()


def test_the_network_has_the_names_and_classes_that_pytorch_gives():
    network = nnw.open(MODEL)
    module = OnnxModule(network)
    model = NamedModel(module.eval())
    assert isinstance(model.conv2, torch.nn.Conv2d)
    assert isinstance(model.head, torch.nn.Linear)
    assert model.conv2.out_channels == 32
    assert {n for n, _ in model.named_parameters()} == set(module.tensors)
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(model(images), module(images))
    heard = []
    model.conv2.register_forward_hook(lambda m, x, y: heard.append(y.shape))
    model(images)
    assert heard[0][:2] == (4, 32)
    with torch.no_grad():
        model.head.weight = torch.nn.Parameter(torch.zeros_like(model.head.weight))
    assert (model.stored()["head.weight"] == 0).all()
    assert torch.allclose(model(images), model.head.bias.expand(4, -1))


def test_pruning_of_torch_works_on_it():
    from torch.nn.utils import prune

    model = NamedModel(OnnxModule(nnw.open(MODEL)).eval())
    prune.l1_unstructured(model.conv2, "weight", 0.5)
    model(torch.rand(1, 1, 8, 8))
    assert (model.stored()["conv2.weight"] == 0).mean() == pytest.approx(0.5, abs=0.01)


def test_what_is_kept_comes_back_as_it_was():
    table = {
        "number": 3, "float": float("inf"), "text": "a", "none": None, "flag": True,
        "tensor": torch.arange(6.0).view(2, 3), "array": np.arange(4, dtype=np.int16),
        "inside": {"list": [1, (2.5, torch.zeros(0))]}, "bytes": b"xyz", "scalar": np.float32(2),
    }  # fmt: skip
    found = kept.opened(kept.packed({"dictionary": table}))["dictionary"]
    assert found["float"] == float("inf")
    assert torch.equal(found["tensor"], table["tensor"])
    assert found["array"].dtype == np.int16
    assert found["inside"]["list"][1][0] == 2.5
    assert (found["bytes"], found["scalar"], found["flag"]) == (b"xyz", 2, True)
    with pytest.raises(kept.NotKeptError, match="got Linear; keep what it is made of"):
        kept.packed({"dictionary": {"net": torch.nn.Linear(1, 1)}})


DETECTOR = """
class Signs:
    def Embedder(self, model, dictionary):
        self.was = float(model.conv2.weight.sum())

    def Detector(self, model, dictionary):
        {answer}
"""


@pytest.mark.parametrize(
    ("answer", "says", "statistic"),
    [
        ("return True", True, 1.0),
        ("return False", False, 0.0),
        ("return bool(self.was), 7.5", True, 7.5),
        ("import torch; return torch.tensor(True), torch.tensor(0.25)", True, 0.25),
    ],
)
def test_a_detector_decides_by_itself(write, answer, says, statistic, tmp_path, capsys):
    path = write(DETECTOR.format(answer=answer))
    options = {"file": str(path), "class_name": "Signs"}
    marked = nnw.inject(MODEL, Payload(), method="reference-detector", options=options, seed=1)
    found = nnw.detect(marked.network, marked.claim)
    assert (bool(found), found.statistic, found.p_value) == (says, statistic, None)
    marked.network.save(tmp_path / "marked.onnx")
    nnw.save_key(marked.claim, tmp_path / "key.npz")
    words = ["detect", str(tmp_path / "marked.onnx"), "--key", str(tmp_path / "key.npz")]
    assert main(words) == (0 if says else 1)
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("yes: statistic" if says else "no: statistic")
    assert told[1] == "how often a network made without this key does as well is not known"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("return 0.93", "expected yes or no, got 1 numbers of shape (1,) (0.93)"),
        ("return None", "expected yes or no, got 1 numbers"),
        ("return True, float('inf')", "expected a finite statistic"),
        ("return 'maybe'", "expected yes or no, got 'maybe'"),
    ],
)
def test_a_detector_says_yes_or_no(write, answer, message):
    path = write(DETECTOR.format(answer=answer))
    options = {"file": str(path), "class_name": "Signs"}
    marked = nnw.inject(MODEL, Payload(), method="reference-detector", options=options, seed=1)
    with pytest.raises(PluginError) as error:
        nnw.detect(marked.network, marked.claim)
    assert message in str(error.value)


FINGERPRINT = """
import torch

class Print:
    def Extractor(self, model):
        return model.conv1.weight.flatten().sign()

    def Matcher(self, fingerprint, stored):
        share = {n: (torch.as_tensor(v) == fingerprint).float().mean().item()
                 for n, v in stored.items()}
        best = max(share, key=share.get)
        return (best if share[best] > 0.9 else None), share[best]

    def Detector(self, model, dictionary):
        return self.Matcher(self.Extractor(model), dictionary["fingerprints"])
"""


def test_a_fingerprint_is_enrolled_and_matched(write):
    options = {"file": str(write(FINGERPRINT)), "class_name": "Print"}
    marked = nnw.inject(MODEL, Payload(), method="reference-fingerprint", options=options, seed=1)
    assert marked.key.arrays["fingerprint"].shape == (144,)
    found = nnw.detect(MODEL, marked.claim)
    assert (bool(found), found.statistic) == (True, 1.0)
    assert not nnw.detect(OTHER, marked.claim)


def test_a_fingerprint_needs_all_three(write):
    code = FINGERPRINT.replace("def Matcher", "def Compare")
    options = {"file": str(write(code)), "class_name": "Print"}
    with pytest.raises(PluginError, match="Matcher: expected a class with it, got one with"):
        nnw.inject(MODEL, Payload(), method="reference-fingerprint", options=options, seed=1)


def test_no_layer_and_no_reference(write):
    path = write(SIGNS)
    options = {"file": str(path), "class_name": "Signs"}
    with pytest.raises(nnw.NnwError, match="Signs: expected no layer"):
        nnw.inject(
            MODEL, PAYLOAD, method="reference-decoder", options=options, layer="conv1.weight"
        )
    marked = inject(path)
    with pytest.raises(nnw.NnwError, match="shown networks whole, and only layers are put back"):
        nnw.detect(marked.network, marked.claim, reference=MODEL)


def test_a_training_of_another_does_not_take_it(write):
    method = ReferenceDecoder(file=write(SIGNS), class_name="Signs")
    with pytest.raises(ConfigurationError, match="Signs: .* one that runs its epochs itself"):
        method.additions(nnw.open(MODEL), PAYLOAD, _key(method))


def _key(method: ReferenceDecoder) -> Key:
    return Key(method=method.spec(), secret=bytes(32), size=32)


def test_cost_is_what_the_process_of_the_class_took(write):
    marked = inject(write(decoder_of("import time; time.sleep(0.2); return [0] * 32")))
    with spending.watching() as spent:
        nnw.decode(*_marked(marked))
    assert spent.calls == 1
    assert 0.2 <= spent.seconds < 60
    assert spent.peak_bytes is None or spent.peak_bytes < 1 << 30


def test_what_a_process_says_of_its_cost_is_not_believed():
    with spending.watching() as spent:
        for told in ({}, {"seconds": "1"}, {"seconds": -1.0}, {"seconds": float("nan")}):
            spending.spend(told)
        spending.spend({"seconds": 1.0, "peak_bytes": "all", "baseline_bytes": 2})
    assert (spent.calls, spent.seconds, spent.peak_bytes) == (1, 1.0, None)


def test_the_report_calls_a_class_by_its_name(write):
    method = ReferenceDetector(file=write(SIGNS), class_name="TheirMethod")
    assert method.title == "TheirMethod"
    assert ReferenceFingerprint(file=Path("x.py"), class_name="Print").title == "Print"


def test_the_dictionary_may_come_from_a_command_line(write):
    code = decoder_of("return [int(dictionary['always'])] * 32")
    given = json.dumps({"always": 1})
    found = nnw.decode(*_marked(inject(write(code), dictionary=given)))
    assert len(set(found.payload.symbols)) == 2  # ones, XOR the keyed stream
