"""Studies of teachers that begin in three ways, whose truth is known: for the claims F1 and F2.

The shape is that of studies/real_teacher.yaml: one network as three teachers (probed, fine-tuned,
from random weights), each of which teaches a student for 30 and for 120 epochs. The student of the
probed teacher is worse by `lost` than that of the fine-tuned one, which F1 allows to be less than a
smallest effect; the student of the teacher from random weights is worse by `effect` (F2). The model
of a run, and its noise, are those of `simulated_lengths`, where a student copies nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from simulated import BASE, Setting
from simulated_lengths import (
    ALL,
    FULL,
    LARGEST,
    SHORT,
    STUDENT,
    LengthStudies,
    build_frame,
    label_cell,
)

from kdpipe.analysis.dataframe import FINE_TUNED, PROBED, START_AT_RANDOM

CLAIMS = ("F1", "F2")
EPOCHS = (30, 120)


@dataclass(frozen=True)
class StartSetting(Setting):
    """A truth and a noise, with the test and validation images of the study."""

    images: int = 10_000
    validation: int = 1_000


class StartStudies(LengthStudies):
    """Studies of one setting, one after the other."""

    judged: ClassVar[dict] = {"primary": CLAIMS, "claims": CLAIMS}

    def __init__(self, setting: StartSetting):
        self.setting = setting
        self.is_null = False  # F1 has its border at a difference other than 0
        self.cells, self.errors = _list_cells(setting)
        self.total = self.measure_total()
        self.teacher = [-1] * len(self.cells)
        self.strength = np.zeros(len(self.cells))
        self.labels = build_frame(self.cells, setting.seeds)
        self.rows = {run: row for row, run in enumerate(self.labels.run)}
        self.wrong = np.empty((0, 0), dtype=bool)

    def derive_truth(self) -> dict[str, tuple[float, dict[str, float]]]:
        """What the noise-free study cannot tell: nothing."""
        return {}

    def measure_teachers(self) -> dict[str, np.ndarray]:
        """No claim reads a measure of a teacher."""
        return {}


def _list_cells(setting: StartSetting) -> tuple[list[dict], list[float]]:
    """The cells, and their true errors in points."""
    cells, errors = [], []
    worse = {PROBED: setting.lost, FINE_TUNED: 0.0, START_AT_RANDOM: setting.effect}
    for start, error in worse.items():
        name = start.replace(" ", "-")
        names = {"teacher": name, "teacher_network": name}
        for kind, epochs in (("teacher", SHORT), *(("student", length) for length in EPOCHS)):
            cell = label_cell(kind, ALL, epochs, LARGEST, FULL) | names
            cell["cell"] = f"{name}-{cell['cell']}"
            if kind == "teacher":
                cell |= {"network": LARGEST, "start": start}
            cells.append(cell)
            errors.append(BASE + (error if kind == "student" else -2.0))
    assert {cell["student"] for cell in cells if cell["kind"] == "student"} == {STUDENT}
    return cells, errors
