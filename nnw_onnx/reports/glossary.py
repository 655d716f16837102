"""Words of the field and of the standard, explained where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

from nnw_onnx.reports import words
from nnw_onnx.text import harmless

TERMS = {
    **{name: f"{meaning}, an AI Workflow of MPAI-NNT" for name, meaning in words.WORKFLOWS.items()},
    "void": "the Modification did not do what it says (the new watermarks of an overwriting are "
    "not in), or the watermark was never found, so that nothing was survived and nothing lost",
    "undecided": "tests that were not done, or the limits of a loss, could tip the verdict either "
    "way",
    "n/a": "not applicable: the Modification can do nothing to these networks, or the evaluation "
    "does not ask for it",
    "not run": "there is no record",
    "undetectable": "no network whatever could be found at the level of this evaluation",
    "outlives": "the watermark is found even where the network is ruined",
    "noticed": "an integrity method told that the network was changed",
    "unnoticed": "an integrity method took the changed network for unchanged",
    "negligible": "the 90 % limits of the loss lie inside the margin",
    "noticeable": "the 90 % limits of the loss lie above the margin",
    "not shown": "the 90 % limits of the loss are not inside the margin, and not above it",
    "Payload": "the Symbols that a watermark carries",
    "Symbol": "an element of a Payload, such as a bit",
    "twin": "the same network from the same training without a watermark",
    "SER": "Symbol Error Rate: Symbols read wrongly / Symbols, before any error-correcting code",
    "FP": "false positives (false alarms): networks without the watermark in which it is found",
    "FN": "false negatives (missed detections): watermarked networks in which it is not found",
}
# Longest first, so that "unnoticed" and "not run" are not taken apart.
_PATTERN = re.compile(
    r"(?<![\w-])("
    + "|".join(re.escape(term) for term in sorted(TERMS, key=len, reverse=True))
    + r")(?![\w-])"
)


def explained(text: str) -> Markup:
    """The text as HTML, its first mention of each term with what it means."""
    told: set[str] = set()
    parts = _PATTERN.split(text)
    return Markup("").join(
        _explained(part, told) if i % 2 else escape(harmless(part)) for i, part in enumerate(parts)
    )


def footnotes(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(term, meaning) of every term in these texts, for paper, which shows nothing on top."""
    used = {term for text in texts for term in _PATTERN.findall(text)}
    return tuple((term, meaning) for term, meaning in TERMS.items() if term in used)


def _explained(term: str, told: set[str]) -> Markup:
    if term in told:
        return escape(term)
    told.add(term)
    return Markup('<abbr title="{}">{}</abbr>').format(TERMS[term], term)
