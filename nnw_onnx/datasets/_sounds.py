"""What data sets of sounds have in common: their options, and the way from files to samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Len

from nnw_onnx.errors import DatasetError
from nnw_onnx.kit.hearing import Layout, Normalise, SoundSamples, Stand
from nnw_onnx.kit.sounds import MAX_RATE, LogMel, decoded_sounds
from nnw_onnx.kit.sources import Source
from nnw_onnx.plugins import option
from nnw_onnx.vocabulary import Dataset, Json, Targets

MAX_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Sounds(Dataset):
    """How sounds are heard."""

    rate: Annotated[int, Ge(1), Le(MAX_RATE)] = option(
        16_000, help="samples a second that sounds are brought to"
    )
    seconds: Annotated[float, Gt(0), Le(MAX_SECONDS)] | None = option(
        None,
        help="length that sounds are cut or filled up to, where the network takes any; without "
        "it, that of the longest",
    )
    peak: Annotated[float, Gt(0)] = option(
        1.0, help="value of full loudness: 32768 where the network takes numbers of 16 bits"
    )
    stand: Stand = option(
        "start",
        help="where shorter sounds stand, and which part of longer ones is kept; end: as networks "
        "want it that wake at a word",
    )
    features: LogMel | None = option(
        None,
        help="log-mel energies instead of the wave: a table of bands, transform, window, hop, low, "
        "high, scale, area, power, log, floor, centre, emphasis",
    )
    normalise: Normalise = option(
        "none", help="sound: mean 0 and deviation 1 of each sound; bands: of each of its bands"
    )
    layout: Layout = option("auto", help="of mel bands, where the network's input does not tell")
    inputs: Annotated[tuple[str, ...], Len(2, 2)] = option(
        ("sound", "lengths"), help="names of the inputs for sounds and for their lengths"
    )

    def heard(
        self,
        source: Source,
        names: Sequence[str],
        targets: Targets,
        facts: Mapping[str, Json] | None = None,
    ) -> SoundSamples:
        """Samples of these files; raises `DatasetError` where there are none, or one is broken."""
        if not names:
            raise DatasetError(f"{source.title}: expected sounds, got none; correct the path")
        sounds, starts = decoded_sounds(source, names, self.rate)
        return SoundSamples(
            sounds,
            starts,
            targets,
            rate=self.rate,
            peak=self.peak,
            stand=self.stand,
            facts=facts,
            seconds=self.seconds,
            features=self.features,
            normalise=self.normalise,
            layout=self.layout,
            names=self.inputs,
        )
