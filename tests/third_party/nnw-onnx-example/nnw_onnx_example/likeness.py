"""A detector of one's own: nothing is put in, and other networks say what the answer means."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from nnw_onnx.kit import carriers
from nnw_onnx.vocabulary import Bench, Detection, Detects, Key, Network, Null, Payload, Suspect


@dataclass(frozen=True)
class Likeness(Detects):
    """Correlation of the largest kernel with what it was when the key was made."""

    name = "likeness"
    summary = "how alike the largest kernel is to that of the owner's network"
    kind: ClassVar[Literal["fingerprint"]] = "fingerprint"
    alphabet = 0

    def make_key(self, network: Network, size: int, secret: bytes, bench: Bench) -> Key:
        carriers.check_presence(size, self.name)
        carrier, why = carriers.largest(network, bench, self.name, 16, "a likeness; use another")
        key = carriers.key_for(self, [carrier], network, 0, secret, [why])
        return replace(key, arrays={"weights": carrier.values})

    def detect(self, suspect: Suspect, claim: Payload, key: Key) -> Detection:
        now = carriers.find(suspect, key, self.name).values
        one, other = now - now.mean(), key.arrays["weights"] - key.arrays["weights"].mean()
        norm = float(np.linalg.norm(one) * np.linalg.norm(other))
        score = float(np.vdot(one, other)) / norm if norm > 0 else 0.0
        return Detection(score, log10_p=None, null=Null("other networks"))
