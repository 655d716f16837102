"""MPAI-AIF: the workflows of NNW-NNT as AI Modules, described, started from JSON, and packed.

An AI Module (AIM) is one function from files to files. Its ports are the fields of two dataclasses,
from which its descriptor is generated; what it computes are the functions of `runs`. An AI Workflow
(AIW) joins modules by their ports, and the `Controller` starts it from its descriptor.
"""
