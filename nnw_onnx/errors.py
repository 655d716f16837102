"""Errors: one root, one class per kind of reader.

Every message is one line that says what was expected, what was got and what to do.
"""

from __future__ import annotations

import re

from nnw_onnx.text import harmless


class NnwError(Exception):
    """Root of every error that is a person's to mend; shown without a traceback.

    Names in it come from files, so nothing in it commands a terminal.

    Attributes:
        args: what is wrong, one line each; several where all of it can be told at once.
    """

    def __str__(self) -> str:
        return "\n".join(harmless(str(line)) for line in self.args)


class ConfigurationError(NnwError):
    """An evaluation, an option or a command line that cannot be carried out as written."""


class NotApplicableError(ConfigurationError):
    """A Modification that cannot do anything to this network or these data; it is left out."""


class PluginError(NnwError):
    """A plug-in that does not exist, cannot be imported or breaks its contract."""


class ModelFileError(NnwError):
    """A model file that is missing, broken, hostile or has nothing to work on."""


class KeyFileError(NnwError):
    """A key file that is missing, broken or does not belong to the model."""


class DatasetError(NnwError):
    """A data set that is missing, broken or does not fit the model."""


class InjectionError(NnwError):
    """A payload that the chosen layer cannot hold, or that cannot be read back."""


class RestorationError(NnwError):
    """A network of which more was changed than a mark of integrity can give back."""


class InferenceError(NnwError):
    """A model that the runtime refuses, or that fails, crashes or hangs while it runs."""


class TrainingError(NnwError):
    """A network that cannot be trained, or a training that fails."""


class RunError(NnwError):
    """A run folder that is missing, belongs to another evaluation or cannot be resumed."""


class UnavailableError(RunError):
    """Something that a run had is gone: space, a folder, a file; once it is back, the run goes on.

    It is the machine's fault and no trial's, so it stops the run and is never a record.
    """


class FrameworkError(NnwError):
    """A descriptor, message, archive or call that the AI Framework (MPAI-AIF) refuses.

    Attributes:
        code: the error of the framework's interface, see `nnw_onnx.aif.codes`.
    """

    def __init__(self, line: str, code: int = 100) -> None:
        super().__init__(line)
        self.code = code


class CarrierNotFoundError(NnwError):
    """The layer that carries a watermark is not in this network; decoding does not apply."""


_WORDS = (
    (r"^Value error, ", ""),
    (
        r"Input should be a(?: valid)? dictionary(?: or (?:an )?instance of \w+)?",
        "expected a table",
    ),
    (r"^\w+ should have (.*) after validation, not \d+$", r"expected \1"),
    (r"Input should be (?=greater|less)", "expected a number "),
    (r"\ba valid integer\b", "a whole number"),
    (r"\ba valid number\b", "a number"),
    (r"\ba valid string\b", "a text"),
    (r"\ba valid boolean\b", "true or false"),
    (r"\ba valid (?:tuple|list)\b", "a list"),
    (r"a whole number, got a number with a fractional part", "a whole number"),
    (r"Input should be ", "expected "),
    (r", unable to parse .*$", ""),
    (r"^Unexpected keyword argument$", "expected a known key, got another"),
)


def expected(message: str) -> str:
    """What a validator says is wrong, in the words of all errors: "expected ..."."""
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return message


def shortened(value: object, length: int = 120) -> str:
    """A value as Python writes it, cut where it is long: what was got, for one line."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
