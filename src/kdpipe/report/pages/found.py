"""All that a report says, before any of it is written."""

from collections import Counter
from dataclasses import dataclass, field

import pandas as pd
from markupsafe import Markup

from kdpipe.evidence.advice.answer import Answer
from kdpipe.evidence.verdicts import Verdict
from kdpipe.plan.items import Plan
from kdpipe.report.figure import Drawing
from kdpipe.report.table import Sheet


@dataclass(frozen=True)
class Found:
    """A study and what came out of it.

    frame: in the reading of the study; a_or_b: its pairs, None where there are none; by_class:
    errors by class of what was chosen, None where they are not known; of_classes: the same in a
    sentence for each student; states: of every run of the plan, by name; outdated: what is made of
    weights that are gone; registered: how the study was registered, and each deviation from it;
    curves: one for each run; failed: tables and figures of one's own that fail, and why; lacks:
    what has no best reading, or no more than its numbers; weights: by student the file of what to
    ship; search: of a searched study how far it is and how sure, sentence by sentence.
    """

    plan: Plan
    frame: pd.DataFrame
    answers: list[Answer]
    verdicts: list[Verdict]
    sheets: list[Sheet]
    drawings: list[Drawing]
    a_or_b: Sheet | None = None
    by_class: Sheet | None = None
    of_classes: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    outdated: dict[str, str] = field(default_factory=dict)
    registered: list[str] = field(default_factory=list)
    curves: list[tuple[str, Markup]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    lacks: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    search: list[str] = field(default_factory=list)


def counted(states: dict[str, str]) -> str:
    """`145 runs, all done`, or how many are what."""
    counts = Counter(states.values())
    if len(counts) == 1:
        return f"{len(states):,} runs, all {next(iter(counts))}"
    said = ", ".join(f"{count:,} {state}" for state, count in counts.most_common())
    return f"{len(states):,} runs: {said}" if said else "no runs"
