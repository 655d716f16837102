"""Records made by hand, a few at a time."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from nnw_onnx.records import (
    DecodingRecord,
    Group,
    InjectionRecord,
    NetworkRecord,
    Plan,
    PluginSpec,
    TrialRecord,
)

FPR = 1e-6


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make_plan(
    networks=1, payloads=2, repetitions=1, dataset=None, weights=1000, symbols=64
) -> Plan:
    return Plan(
        package_version="0.1.0",
        evaluation={},
        evaluation_sha256="00",
        title="by hand",
        profile="nnt-1.1",
        seed=0,
        networks=tuple(
            NetworkRecord(
                index=i, name=f"{i}.onnx", sha256="00", weights=weights, parameters=weights
            )
            for i in range(networks)
        ),
        payloads=payloads,
        groups=(Group(index=0, method=PluginSpec(name="m"), payload_size=symbols, label="m"),),
        false_positive_rate=FPR,
        margin=0.005,
        repetitions=repetitions,
        dataset={
            "name": "made",
            "split": "test",
            "entries": 1000,
            "classes": ["a", "b"],
            "shape": [2, 2],
            "fingerprint": "00",
        }
        | (dataset or {}),
        session={},
    )


def injection(network: int, payload: int, **fields) -> InjectionRecord:
    base = {"status": "done", "layers": ("conv",), "change": 0.01, "changed_weights": 10}
    return InjectionRecord(
        identity=f"i{network}{payload}",
        network=network,
        group=0,
        payload_index=payload,
        **(base | fields),
    )


def decoded(identity: str, errors: int, symbols: int = 64) -> DecodingRecord:
    log10_p = min(0.0, float(binom.logsf(symbols - errors - 1, symbols, 0.5)) / math.log(10))
    return DecodingRecord(
        injection=identity,
        status="done",
        symbols=symbols,
        errors=errors,
        p_value=10**log10_p,
        log10_p=log10_p,
        detected=log10_p <= math.log10(FPR),
    )


def trial(
    network: int,
    payload: int | None,
    decodings: Sequence[DecodingRecord] = (),
    intensity: float | None = 0.1,
    quality: float = 0.9,
    **fields,
) -> TrialRecord:
    """A trial of noise at an Intensity, or of the unmodified network where that is None."""
    layers = ".".join(fields.get("layers", ()))
    parts = (network, payload, intensity, layers, fields.get("repetition"))
    base = {
        "identity": "-".join(map(str, parts)),
        "status": "done",
        "network": network,
        "injection": None if payload is None else f"i{network}{payload}",
        "quality": {"top1": quality},
        "headline": "top1",
        "chance": 0.1,
        "decodings": tuple(decodings),
    }
    if intensity is not None:
        base |= {
            "modification": PluginSpec(name="noise", options={"intensity": intensity}),
            "aim": "all",
            "layers": ("conv", "fc"),
        }
    return TrialRecord(**(base | fields))


def packed(answers: Sequence[bool]) -> str:
    return base64.b64encode(np.packbits(np.asarray(answers, bool)).tobytes()).decode()
