"""How the numbers of every report came about, with the clauses they follow."""

from __future__ import annotations

from nnw_onnx.reports.model import MethodNote

STANDARD = (
    "Implements the procedures of NNW-NNT V1.1, Neural Network Traceability (superset of MPAI-NNW "
    "V1.0 / IEEE 3304-2023). This report is no certification and passes no judgement."
)

_NOTES = (
    (
        "AI Workflows",
        "NNW-NTI and NNW-WTI are No Training and With Training Imperceptibility: whether training "
        "puts the watermark in. NNW-NIR and NNW-WIR are No Inference and With Inference "
        "Robustness: whether the Payload is read from the weights, or from what the network "
        "answers. A workflow that the evaluation leaves out is shown as not asked for.",
    ),
    (
        "Imperceptibility",
        "M unwatermarked networks and M × D watermarked ones answer the same test set, and are "
        "paired sample by sample. The 90 % limits of the loss join the spread over networks with "
        "that over samples (crossed random effects, Student's t with Satterthwaite's degrees of "
        "freedom). Inside the margin they are two one-sided tests at 5 %. They cover 88 to 93 % in "
        "simulation where losses of networks spread about normally, more where hardly an answer "
        "changes, and down to 81 % for an exponential spread: a loss that few networks have is not "
        "seen in few. With fewer than six networks the verdict is said of the networks tested and "
        "of no others.",
    ),
    (
        "Imperceptibility with training",
        "What training puts in is compared with its twin: the same training of the same network "
        "without a watermark. The comparison with the original network, in the tables, includes "
        "what further training does to quality. Twins are no watermarked networks.",
    ),
    (
        "Robustness",
        "Each Modification at each Intensity is applied to all M (D + 1) networks; Detector and "
        "Decoder run on each. FN and FP are given divided by M (D + 1), as the standard does, and "
        "as FN / (M D) and FP / M, all at one level: an unwatermarked network counts by the share "
        "of its keys that find a watermark. Networks are the units: repetitions are averaged, then "
        "Payloads, then networks. Rates have 95 % limits from ten networks on, below only those of "
        "an event that never (or always) happened. In simulation they cover 93 % and more; rare "
        "events more than 98 %, as exact limits of counts do. Settings test the same networks "
        "with the same keys again, so their counts are not added up.",
    ),
    (
        "Usability",
        "Decided once for all technologies, by the unwatermarked networks and the 90 % limits of "
        "their loss; for each technology where the Modification is aimed at its carriers or done "
        "by its method, since it is another one then. A network that does no better than guessing "
        "is unusable whatever it loses. Where the limits include the largest loss allowed, "
        "usability is undecided, and the setting is in no denominator; where the loss has no "
        "limits it is undecided too. How many settings are survived is repeated at other limits in "
        "the tables.",
    ),
    (
        "Carriers that do not exist",
        "Where the carrier does not exist in a network, as in a student of distillation, the "
        "Detector answers No, which counts. There is no Symbol to read, so such networks are not "
        "in the Symbol Error Rate.",
    ),
    (
        "Overwriting and transfer",
        "The new watermarks of an overwriting are read too. Where the last, which nothing "
        "overwrites, has a Symbol Error Rate above 5 %, the overwriting is void: neither survived "
        "nor lost. After a transfer quality is that of the new data set, so that no loss is given.",
    ),
    (
        "Symbol Error Rate",
        "Differing Symbols / Symbols, before any error-correcting code: of the watermarked "
        "networks; of the unwatermarked ones read with the same keys; and the standard's mean over "
        "all M (D + 1) networks, (D × watermarked + unwatermarked) / (D + 1). Bit errors after the "
        "code are given beside it.",
    ),
    (
        "Detection",
        "One level for all technologies. Where a method knows no null distribution, its statistic "
        "is compared with those of N networks that cannot carry the watermark: 1 / (N + 1) is then "
        "the smallest p-value, and false alarms are no test of it.",
    ),
    (
        "Parameter of a Modification",
        "Intensities outside the range of the standard's table are run and marked, never refused. "
        "Modifications that the table does not have are neither inside nor outside.",
    ),
    (
        "Computational Cost",
        "Every measurement runs in a fresh process: peak memory above the loaded baseline, or what "
        "Python and numpy allocated where that is more (the resident set does not grow where the "
        "process has room left; below its resolution that is said), and the median of repeated "
        "timings after warm-up. Everything is measured in two sessions, one after the other: what "
        "one scatters says nothing of the next. Limits are approximate, over networks and "
        "sessions, from five measurements on. Injection without training counts as one epoch of "
        "one batch; by training it is the time of an epoch divided by its batches, reading the "
        "watermark at its end included and its start left out, beside the same training without a "
        "watermark. Epochs needed are those after which every Symbol is read rightly to the end. "
        "Inference with and without the watermark is timed in turn and given as a ratio.",
    ),
    (
        "Data-set size",
        "The standard asks for ten entries for each trainable Weight. An entry may be a sample or "
        "a scalar; both quotients are computed, for the samples that were used here.",
    ),
)

METHOD = tuple(MethodNote(clause=clause, text=text) for clause, text in _NOTES)
