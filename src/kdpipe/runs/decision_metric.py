"""The metric by which a study chooses and judges: top-1, balanced accuracy or macro F1.

`class_metrics` computes them. Here are only their names, which a study is checked by on a head
node, without numpy.
"""

from typing import Literal, get_args

DecisionMetric = Literal["top1", "balanced", "macro_f1"]
DECISION_METRICS: tuple[DecisionMetric, ...] = get_args(DecisionMetric)

METRIC_TEXT: dict[DecisionMetric, str] = {
    "top1": "top-1",
    "balanced": "balanced accuracy",
    "macro_f1": "macro F1",
}
# What stands in the place of "top-1" where an error is named.
ERROR_ADJECTIVES: dict[DecisionMetric, str] = {
    "top1": "top-1",
    "balanced": "balanced",
    "macro_f1": "macro-F1",
}


def name_accuracy(metric: DecisionMetric) -> str:
    """Return what 100 minus an error is called."""
    return "accuracy" if metric == "top1" else METRIC_TEXT[metric]


def name_error(text: str, metric: DecisionMetric) -> str:
    """Return a text that names the top-1 error, with the error of another metric in its place."""
    adjective = ERROR_ADJECTIVES[metric]
    capitalized = adjective[0].upper() + adjective[1:]
    return text.replace("top-1", adjective).replace("Top-1", capitalized)
