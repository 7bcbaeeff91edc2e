"""The answer: for each student the best teacher, stop and method, how sure, and at what price.

Chosen on validation, reported on test. The recommendation uses every seed; an effect is claimed
only for choices that did not see the tested seed (for each seed the option that the validation
errors of the other seeds prefer), so picking the best of many is not counted as a gain.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from kdpipe.evidence import reading
from kdpipe.evidence.advice import rivals
from kdpipe.evidence.selections import UNTRAINED, by_seed, groups, tidy, traced, where, wide
from kdpipe.learning.method import terms
from kdpipe.results.readings import Reading, other
from kdpipe.statistics.intervals import FEWEST_SEEDS, Summary, choose, mark, paired, summary
from kdpipe.statistics.looks import ONLY, Look
from kdpipe.statistics.power import LEVEL
from kdpipe.statistics.ranks import Rank, ranks
from kdpipe.statistics.traced import Second, TracedError, Wrong, second, wider

OPTION = ("teacher", "stop", "via", "generation", "method")


@dataclass(frozen=True)
class Gain:
    """A paired difference of the chosen students to a rival; negative is better.

    Both intervals are those of `level`: all differences of one student hold together (Bonferroni),
    at all looks at the study.
    The mark is that of the wider one.
    """

    over: str
    difference: Summary
    mark: str
    values: pd.Series  # by seed
    level: float = 0.95
    second: Second | None = None  # over seeds and test images
    kind: str = ""  # and copies: see rivals.Rival
    copies: int = 1

    @property
    def images(self) -> dict | None:
        """The second interval in plain values, or why there is none."""
        return self.second.facts(self.level) if self.second else None


@dataclass(frozen=True)
class Cost:
    """A price of one chosen student: alone, and with its teacher; nan where it has none."""

    what: str
    alone: float
    with_teacher: float
    unit: str = ""

    @property
    def has_both(self) -> bool:
        """Whether there is a price with the teacher at all."""
        return not math.isnan(self.with_teacher)


@dataclass(frozen=True)
class Answer:
    """What to do for one student. `reason` says why there is no answer, or what was set aside."""

    student: str
    options: int
    reason: str = ""
    chosen: dict = field(default_factory=dict)
    validation: Summary | None = None
    test: Summary | None = None
    scratch: Summary | None = None  # test errors of the student on labels alone
    settings: str = ""  # of the method
    agreed: int = 0  # seeds for which the others choose the same
    place: Rank | None = None  # of the chosen option on validation, and how sure that is
    gains: list[Gain] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # rivals, each with the way to get it
    costs: list[Cost] = field(default_factory=list)
    reading: Reading = "last"
    beside: "Answer | None" = None  # in the other reading

    @property
    def gain(self) -> Gain | None:
        """The difference to labels alone; None if these have no result."""
        return next((gain for gain in self.gains if gain.kind == "scratch"), None)

    @property
    def ships(self) -> str:
        """What to ship: `student` where being taught is better than labels alone, else `scratch`.

        Also `student` where labels alone have no result; empty where nothing can be said.
        """
        if not self.chosen or (self.gain and self.gain.mark == "too few seeds"):
            return ""
        return "student" if self.gain is None or self.gain.mark == "better" else "scratch"

    def also(self, gain: Gain) -> Gain | None:
        """The difference to the same rival in the other reading."""
        others = self.beside.gains if self.beside else []
        return next((other for other in others if other.over == gain.over), None)


def both(
    frame: pd.DataFrame,
    read_at: Reading,
    wrong: Mapping[Reading, Wrong] | None = None,
    look: Look = ONLY,
) -> list[Answer]:
    """The answers in the reading of a study, each with that of the other reading beside it.

    frame: of the records (`frames.frame`); wrong: by reading. Else as `answers`.
    """
    here, there = (
        answers(reading.at(frame, each), (wrong or {}).get(each), look)
        for each in (read_at, other(read_at))
    )
    return [replace(a, beside=b) for a, b in zip(here, there, strict=True)]


def answers(frame: pd.DataFrame, wrong: Wrong | None = None, look: Look = ONLY) -> list[Answer]:
    """One answer for each network that some experiment ends in, smallest first.

    wrong: the images that each run gets wrong, for the second interval of each gain;
    look: which of several looks at the study this is.
    """
    frame = traced(tidy(frame))
    made = [_answer(frame, key["student"], rows) for key, rows in groups(ends(frame), "student")]
    read_at = reading.of(frame)
    held = [together(one.gains, wrong, look) for one in made]
    return [replace(a, reading=read_at, gains=gains) for a, gains in zip(made, held, strict=True)]


def ends(frame: pd.DataFrame, controls: bool = False) -> pd.DataFrame:
    """The taught students in which some experiment ends, not those on the way to one.

    controls: also those of untrained teachers, which are no option.
    """
    taught = where(frame, kind="student")
    if not controls:
        taught = taught.loc[taught.stop != UNTRAINED]
    return taught.loc[taught["last"].astype(str) != "False"] if "last" in taught else taught


def options(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Validation and test errors of the options of one student, (seeds, options), to choose from.

    Those with fewer seeds than others are set aside.
    """
    test, validation = wide(rows, *OPTION), wide(rows, *OPTION, column="val_error")
    counts = (validation.notna() & test.notna()).sum()
    whole = counts.index[counts == counts.max()]
    return validation.loc[:, whole], test.loc[:, whole]


def preferred(validation: pd.DataFrame) -> tuple | None:
    """The option with the lowest mean validation error, by its labels; None without any."""
    if not validation.notna().to_numpy().any():
        return None
    means = validation.to_numpy(float)
    return tuple(validation.columns[int(np.nanmean(means, axis=0).argmin())])


def together(
    gains: list[Gain], wrong: Wrong | None, look: Look = ONLY, of: int | None = None
) -> list[Gain]:
    """Differences at the level at which all of them hold at all looks, with both intervals.

    of: how many they are, where not all of them are shown.
    """
    count = of or sum(gain.difference.n >= FEWEST_SEEDS for gain in gains)
    level = 1 - 2 * look.level(LEVEL / 2 / max(count, 1))
    found = []
    for gain in gains:
        s = replace(summary(gain.values, level), dropped=gain.difference.dropped)
        images = second(gain.values, wrong)
        low, high = wider(s, images, level)
        said = mark(replace(s, low=low, high=high))
        marked = {"level": level, "second": images, "mark": said}
        found.append(replace(gain, difference=s, **marked))
    return found


def _answer(frame: pd.DataFrame, student: str, rows: pd.DataFrame) -> Answer:
    alone = summary(by_seed(where(frame, kind="scratch", student=student)).astype(float))
    tried = len(rows[list(OPTION)].drop_duplicates())
    validation, test = options(rows)
    best = preferred(validation)
    if best is None:
        why = "no validation errors: the report refuses to choose by test errors"
        why = why if test.notna().to_numpy().any() else "no result"
        return Answer(student, tried, why, scratch=alone)
    set_aside = tried - len(test.columns)
    places: dict = ranks(validation)
    chosen, errors = choose(validation, test)
    cell = where(rows, **dict(zip(OPTION, best, strict=True)))
    gains, missing = [], []
    for rival in rivals.of(frame, student, rows, cell):
        if rival.errors.notna().any():
            difference = paired(errors, rival.errors)
            values = (errors - rival.errors).dropna()
            if _is_itself(values):
                continue
            who = {"kind": rival.kind, "copies": rival.copies}
            gains.append(Gain(rival.name, difference, mark(difference), values, **who))
        else:
            missing.append(f"{rival.name}: {rival.cure}")
    return Answer(
        student,
        tried,
        f"{set_aside} with fewer seeds are set aside" if set_aside else "",
        dict(zip(OPTION, best, strict=True)),
        summary(validation[best]),
        summary(test[best]),
        alone,
        _settings(cell.iloc[0], frame),
        int((chosen == best).sum()) if len(chosen) else 0,
        places.get(best),
        gains,
        missing,
        list(_costs(cell)),
    )


def _is_itself(differences: pd.Series) -> bool:
    """Whether these are a choice less the very same runs."""
    return len(differences) > 0 and all(
        isinstance(one, TracedError) and not any(one.parts.values()) for one in differences
    )


def _settings(row: pd.Series, frame: pd.DataFrame) -> str:
    team = where(frame, kind="ensemble", ensemble=row.teacher_label)
    text = f"{row.teacher_label} is the average of {team.of.iloc[0]}; " if len(team) else ""
    text += f"{row.method}: T {row.temperature:g}, {row.kd_weight:g} KD + {row.ce_weight:g} CE"
    for name, term in list(terms().items())[1:]:
        weight = f"{name}_weight"
        if weight in row and row[weight] > 0:
            text += f" + {row[weight]:g} {term.title}"
    if isinstance(row.get("terms"), str):
        text += f" + {row.terms}"
    if row.kd_epochs < row.epochs:
        text += f" until epoch {row.kd_epochs:g} of {row.epochs:g}, then CE alone"
    return text + (
        f", labels smoothed by {row.label_smoothing:g}" if row.label_smoothing > 0 else ""
    )


def _costs(cell: pd.DataFrame) -> Iterator[Cost]:
    row = cell.iloc[0]
    for what, name in (("parameters", "parameters"), ("operations for one image", "multiply_adds")):
        yield Cost(what, row[name], row[name] + row[f"teacher_{name}"])
    taught = row.train_macs + row.teacher_macs
    yield Cost("operations to train, with the teacher's answers", row.train_macs, taught)
    everything = taught + row.ancestor_macs
    yield Cost("the same, with the training of all it learned from", row.train_macs, everything)
    yield Cost("time of one run here", cell.seconds.mean(), math.nan, "s")
