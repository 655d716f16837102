"""How the numbers of every report came about, with the clauses they follow."""

from __future__ import annotations

from nnw_onnx.reports.model import MethodNote

STANDARD = (
    "Implements the procedures of NNW-NNT V1.1, Neural Network Traceability (superset of MPAI-NNW "
    "V1.0 / IEEE 3304-2023). This report is no certification and passes no judgement."
)

_NOTES = (
    (
        "Imperceptibility",
        "M unwatermarked networks and M × D watermarked ones answer the same test set. Answers are "
        "paired sample by sample: exact McNemar test, difference with 95 % limits, and two "
        "one-sided tests (TOST) against the margin. A loss is called negligible where the 90 % "
        "limits lie inside the margin on each axis separately: over networks (Student's t), and "
        "over test samples for these networks. Neither covers other networks and other samples at "
        "once. Where fewer than 75 answers changed, limits over samples are Tango's score limits; "
        "they are never narrower than the exact limit of an event seen in none of n samples, so "
        "that few samples in which nothing changed prove little. Limits of a share are cut off at "
        "0 and 1.",
    ),
    (
        "AI Workflows",
        "NNW-NTI and NNW-WTI are No Training and With Training Imperceptibility: whether training "
        "puts the watermark in. NNW-NIR and NNW-WIR are No Inference and With Inference "
        "Robustness: whether the Payload is read from the weights, or from what the network says. "
        "A workflow that the evaluation leaves out is shown as not asked for.",
    ),
    (
        "Imperceptibility with training",
        "What training puts in is compared with a twin, which is the same training of the same "
        "network without a watermark. The comparison with the original network stands beside it; "
        "it includes what further training does to quality. Twins are no watermarked networks and "
        "count nowhere else.",
    ),
    (
        "Robustness",
        "Each Modification at each Intensity is applied to all M (D + 1) networks; Detector and "
        "Decoder run on each. FP and FN are given divided by M (D + 1), as the standard does, and "
        "as rates p_fa = FP / M and p_md = FN / (M D) with Clopper-Pearson 95 % limits. Where "
        "networks could not be tested, ratios are over those that were. Networks are the units: "
        "with repetitions a watermark counts as missed, and an unwatermarked network as a false "
        "alarm, if it is one in any of them. The settings test the same networks with the same "
        "keys again, so their counts are not added up.",
    ),
    (
        "Robustness, false alarms",
        "An unwatermarked network is tested with each of its D keys. It is a false alarm if any "
        "of them says Yes after the Šidák correction for D tests.",
    ),
    (
        "Robustness, carriers that do not exist",
        "Where the carrier does not exist in a network, as in a student of distillation, the "
        "Detector answers No, which counts as a missed detection or a true negative. There is no "
        "Symbol to read, so such networks are not in the Symbol Error Rate; they are counted.",
    ),
    (
        "Robustness, overwriting and transfer",
        "The new watermarks of an overwriting are read too: mean over networks of the mean over "
        "their new watermarks. Where the last, which nothing overwrites, has a Symbol Error Rate "
        "above 5 %, the overwriting is void and counts neither as survived nor as lost. "
        "After a transfer quality is that of the new data set, "
        "so that no loss is given.",
    ),
    (
        "Robustness, Symbol Error Rate",
        "Differing Symbols / Symbols, three ways: over the M × D watermarked networks; over the "
        "M × D pairs of an unwatermarked network and a Payload; and the standard's mean over all "
        "M (D + 1) networks, (D × watermarked + unwatermarked) / (D + 1). The 95 % limits are "
        "percentiles of a bootstrap over networks (outer) and Payloads (inner), 10,000 resamples; "
        "with fewer than five networks their values are listed instead, and where all values are "
        "equal there are no limits. With repetitions each network's rate is their mean.",
    ),
    (
        "Robustness, survival and usability",
        "A watermark survives a setting where at least 95 % of the M × D watermarks are detected "
        "and all were tested. Settings whose network is no longer usable are counted apart. "
        "A network is usable where its headline quality fell by at most 5 points; a Modification "
        "that leaves no usable network defeats nobody.",
    ),
    (
        "Parameter of a Modification",
        "Intensities outside the range of the standard's table are run and marked, never refused.",
    ),
    (
        "Computational cost",
        "Every measurement runs in a fresh process: peak resident memory above the loaded "
        "baseline, and the median of repeated timings after warm-up. Mean over the M × D networks "
        "with Student-t 95 % limits, percentile bootstrap limits beside them. Injection without "
        "training counts as one epoch of one batch; by training it is the time of an epoch "
        "divided by its batches, beside the same training without a watermark. Epochs needed are "
        "those after which every Symbol is read rightly to the end. Inference of the watermarked "
        "and the unwatermarked network is timed in alternation and given as a ratio.",
    ),
    (
        "Data-set size",
        "The standard asks for ten entries for each trainable Weight. An entry may be a sample or "
        "a scalar; both quotients are computed, for the samples that were used here.",
    ),
    (
        "p-values",
        "The probability that a network made without the key matches at least as well; not the "
        "probability of innocence.",
    ),
)

METHOD = tuple(MethodNote(clause=clause, text=text) for clause, text in _NOTES)
