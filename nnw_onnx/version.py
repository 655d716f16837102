"""The version of the package: records, plans and plug-ins name it."""

__version__ = "0.2.0"
