"""Runs made by hand for comparisons: so many Symbols wrong, so many answers lost."""

from __future__ import annotations

import numpy as np

from nnw_onnx.measures.run import Run

from .made import (
    answers,
    make_injection,
    make_plan,
    make_setting,
    make_technology,
    make_trial,
    make_verdict,
)

SAMPLES = 1000


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def right_answers(network, lost=0):
    """About 95 % right, others in each network; `lost` more are wrong."""
    right = answers(SAMPLES, 40 + network, first=10)
    right[500 : 500 + lost] = False
    return right


def right_in(network, technology, lost=0):
    """With one or two other answers in each watermarked network, so that there is a spread."""
    right = right_answers(network, lost)
    right[900 + technology : 900 + technology + (network + technology) % 3] = False
    return right


def make_run(
    errors,
    networks=6,
    payloads=2,
    technologies=None,
    intensities=(0.1,),
    lost=None,
    cost=None,
    damage=0,
    sha=None,
    setting=None,
    **plan,
):
    """A run of one setting.

    Args:
        errors: (technology, network, payload, intensity) -> Symbols wrong after the Modification.
        networks: M.
        payloads: D.
        technologies: records; two of 64 bits by default.
        intensities: of the setting.
        lost: (technology, network) -> answers that the Modification costs the watermarked network.
        cost: (technology, network) -> answers that the watermark costs.
        damage: answers that it costs the unwatermarked network.
        sha: network -> digest.
        setting: its record.
        plan: further fields of the plan.
    """
    records = technologies or [make_technology(0), make_technology(1, "block-spread")]
    # Every method names the only setting, so that all have a place.
    attack = make_setting(intensities=intensities, adaptive=tuple(range(len(records))))
    made = make_plan(networks, payloads, records, [setting or attack], **plan)
    named = tuple(
        n.model_copy(update={"sha256": sha(n.index) if sha else f"{n.index:02d}"})
        for n in made.networks
    )
    made = made.model_copy(update={"networks": named})
    marks = [
        make_injection(n, d, t.index, symbols=t.payload_size or None)
        for t in records
        for n in range(networks)
        for d in range(payloads)
    ]
    trials = [make_trial(n, right=right_answers(n)) for n in range(networks)]
    for x in intensities or (None,):
        place = {"setting": 0, "intensity": x}
        trials += [make_trial(n, right=right_answers(n, damage), **place) for n in range(networks)]
    for mark in marks:
        t, n = mark.technology, mark.network
        worse = cost(t, n) if cost else 0
        size = records[t].payload_size or 64
        reads = records[t].decodes
        trials.append(
            make_trial(
                n, mark, make_verdict(mark, 0, size, reads=reads), right=right_in(n, t, worse)
            )
        )
        for x in intensities or (None,):
            more = worse + (lost(t, n) if lost else damage)
            said = make_verdict(mark, errors(t, n, mark.payload_index, x), size, reads=reads)
            place = {"setting": 0, "intensity": x}
            trials.append(make_trial(n, mark, said, right=right_in(n, t, more), **place))
    return Run(made, tuple(marks), tuple(trials))
