"""Errors: one root, one class per kind of reader.

Every message is one line that says what was expected, what was got and what to do.
"""


class NnwError(Exception):
    """Root of every error that is a person's to mend; shown without a traceback."""


class ConfigurationError(NnwError):
    """An evaluation, an option or a command line that cannot be carried out as written."""


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


class InferenceError(NnwError):
    """A model that the runtime refuses, or that fails, crashes or hangs while it runs."""


class TrainingError(NnwError):
    """A network that cannot be trained, or a training that fails."""


class RunError(NnwError):
    """A run folder that is missing, belongs to another evaluation or cannot be resumed."""


class CarrierNotFoundError(NnwError):
    """The layer that carries a watermark is not in this network; decoding does not apply."""
