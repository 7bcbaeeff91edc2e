"""Teachers that answer in bfloat16: not for terms to which the rounding of logits matters."""

from collections.abc import Iterator

from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.rule import Rule
from kdpipe.losses import method as methods


def _check_teacher_precision(config: PartialConfig) -> Iterator[str]:
    """Check the terms of each method whose teacher answers in bfloat16."""
    study_precision = config.content.get("teacher_precision")
    for name, method in config.methods.items():
        own = method.teacher_precision
        if (own or study_precision) != "bfloat16":
            continue
        if titles := methods.find_fp32_terms_of_config(method):
            key = f"methods.{name}.teacher_precision" if own else "teacher_precision"
            yield (
                f"{key}: bfloat16 rounds a teacher's logits to 8 bits, which is too coarse for "
                f"{titles[0]} in the method {name} (as for KD below T = 2, other terms at T = 1, "
                f"and custom terms): write methods.{name}.teacher_precision: float32, or use a "
                "temperature of at least 2"
            )


RULE = Rule(84, _check_teacher_precision)
