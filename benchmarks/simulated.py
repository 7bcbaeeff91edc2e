"""A study whose truth is known: cells, their true errors, and single images drawn around them.

Every claim finds the cells that it needs. A run answers image i wrongly if

    difficulty(i) + taste(cell, i) + luck(run, i) + shift(run) + redrawn(cell, split)
        > threshold(cell)

all normal and independent, so the true error of a cell is a normal tail and exactly as set. The
difficulty is common to all runs, the taste to all seeds of a cell, what a split does to a cell to
all seeds in that split. Images, seeds and splits are drawn anew for each study, so true means over
all of them.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import special

DELTA = 1.0  # the smallest effect, in points
BASE = 12.0  # the error of a cell without any effect, in points
EPOCHS = 40
SIZES = {"wrn10-0.5": 1, "wrn10-1": 2, "wrn16-2": 10, "densenet-bc40-12": 20, "wrn16-4": 100}
SMALL, MIDDLE, M, D, L = SIZES
PLAIN = {"method": "kd", "method_kind": "kd", "temperature": 4.0, "kd_epochs": EPOCHS}
WARM = PLAIN | {"method": "warm", "temperature": 20.0}
ESKD = PLAIN | {"method": "early", "method_kind": "eskd", "kd_epochs": 12}
SHORT = ("schedule 10/35", "schedule 15/50")
CUT = "checkpoint 12"


@dataclass(frozen=True)
class Setting:
    """A truth and a noise. `effect`: of every claim about an error, in points, as claimed.

    `lost`: by how much the claims of `not better` are missed, `apart` that of `the same`. The sds
    are of the latent score, in which one unit is about a fifth of an error of 12 points; `uneven`
    multiplies the luck of every second cell.
    """

    name: str
    seeds: int = 5
    splits: int = 1
    effect: float = 0.0
    lost: float = 0.0
    apart: float = 0.0
    images: int = 700
    difficulty: float = 1.0
    taste: float = 0.3
    luck: float = 0.5
    shift: float = 0.03
    redrawn: float = 0.0
    uneven: float = 1.0
    missing: tuple[str, ...] = ()  # cells without any run
    holes: float = 0.0  # the share of single runs that diverged
    looks: tuple[int, ...] = ()  # after how many seeds the study is looked at; the last is `seeds`


@dataclass
class Layout:
    """The cells of a setting: labels, true errors, and other measures with their true means."""

    setting: Setting
    cells: list[dict] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def add(self, error: float, kind: str = "student", **labels) -> None:
        """One cell; `error` is what it differs by from the base, in points."""
        self.cells.append(_labels(kind, labels))
        self.errors.append(BASE + error)


def layout(setting: Setting) -> Layout:
    """The cells of every claim, with the effects of a setting."""
    result = Layout(setting)
    e, lost, apart = setting.effect, setting.lost, setting.apart
    add = result.add
    add(-e, "scratch", student=SMALL)  # C2: full KD is worse
    add(-3 * e, "scratch", student=MIDDLE)
    kd = {M: 0.0, D: 0.0, L: e - lost}  # C1: the largest teacher is worse, or better by `lost`
    for student, better in ((SMALL, 0.0), (MIDDLE, 2 * e)):  # C15: the student counts more
        for teacher, error in kd.items():
            add(error - better, student=student, teacher=teacher, **PLAIN)
    for teacher, error in kd.items():
        add(error, student=SMALL, teacher=teacher, **WARM)
        add(error - e, student=SMALL, teacher=teacher, **ESKD)
        for stop in (*SHORT, CUT):
            add(-e, student=SMALL, teacher=teacher, stop=stop, **PLAIN)
        at = PLAIN | {"method": "at", "method_kind": "at"}
        add(error + 2 * e, student=SMALL, teacher=teacher, **at)
        add(-e, student=SMALL, teacher=teacher, stop=SHORT[0], **at)
    for kind in ("dkd", "ttm", "sp"):
        ahead = {"dkd": -lost, "ttm": e, "sp": 3 * e}[kind]  # M1, M2: dkd, (kd), ttm, at, sp
        add(ahead, student=SMALL, teacher=M, **PLAIN | {"method": kind, "method_kind": kind})
    again = {"teacher": SMALL, "block": "again", "student": SMALL}
    add(0.0, **again, **PLAIN)
    add(-e - lost, **again, generation=2, **PLAIN)
    team = {"teacher": SMALL, "student": SMALL, "size": 2, "method": "kd"}
    add(-4 - lost, "ensemble", ensemble="sequence", of="again: " + SMALL, **team)
    add(-4, "ensemble", ensemble="twice", of=SMALL, student=SMALL, size=2)
    add(-lost, student=SMALL, teacher="better", teacher_network=M, **PLAIN)
    add(kd[L] + apart, student=SMALL, teacher=L, via=M, **PLAIN)
    add(kd[L] - e, student=SMALL, teacher=L, via=M, **PLAIN | {"method": "warm > kd"})
    for teacher in (M, D, L):
        add(0.0, "teacher", student="", teacher=teacher)
    return result


def _labels(kind: str, inputs: dict) -> dict:
    teacher, student = inputs.get("teacher", ""), inputs.get("student", "")
    row = {"kind": kind, "block": "", "via": "", "method": "", "method_kind": "", "ensemble": ""}
    row |= {"stop": "full" if teacher else "", "member": 0, "epochs": EPOCHS, "status": "done"}
    row |= {"generation": 1 if kind == "student" else 0, "device": "cpu", "torch": "2"}
    row |= {"teacher_network": teacher if teacher in SIZES else ""}
    row |= {"teacher_multiply_adds": SIZES.get(inputs.get("teacher_network", teacher))}
    row |= {"multiply_adds": SIZES.get(student), "reason": "", "ce_weight": 0.1, "kd_weight": 0.9}
    row |= {"label_smoothing": 0.0, "ce_weight_after_stop": 1.0}
    row |= {"teacher": teacher, "student": student, **inputs}
    stop, _, epochs = str(row["stop"]).partition(" ")
    name = "-".join(str(row[key]) for key in ("kind", "teacher", "stop", "via", "student"))
    name += f"-{row['method']}-{row['generation']}{row['block']}{row['ensemble']}"
    return row | {"stop_kind": stop, "stop_epochs": int(epochs.split("/")[-1] or 40), "cell": name}


def _of_chains(cell: dict) -> bool:
    taught = cell["kind"] == "student" and cell["student"] == SMALL and cell["generation"] == 1
    plain = cell["method"] == "kd" and cell["stop"] == "full" and not cell["block"]
    return taught and plain and cell["teacher"] in (M, L, "better")


class Studies:
    """Studies of one setting, one after the other. chains: of the cells of C10 alone."""

    def __init__(self, setting: Setting, chains: bool = False):
        self.setting = setting
        self.layout = layout(setting)
        if chains:
            remaining = [index for index, cell in enumerate(self.layout.cells) if _of_chains(cell)]
            self.layout.cells = [self.layout.cells[index] for index in remaining]
            self.layout.errors = [self.layout.errors[index] for index in remaining]
        self.labels = self._frame(setting.seeds, setting.splits)
        self.outcomes: dict[str, np.ndarray] = {}

    def truth(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Frame and curves of three seeds without any noise."""
        frame = self._frame(3, 1)
        errors = np.repeat(self.layout.errors, 3).reshape(-1, 3)
        return self._measured(frame, errors, errors, None), self._curves(frame, errors, None)

    def draw(self, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Frame and curves of one study; its images are in `outcomes`, by run."""
        s, cells = self.setting, len(self.layout.cells)
        factor = np.where(np.arange(cells) % 2, s.uneven, 1.0)[:, None]
        luck, shift = s.luck * factor, s.shift * factor
        runs = s.seeds * s.splits  # of a cell, its seeds in one split after the other
        run = random.normal(0, 1, (cells, runs)) * shift
        if s.redrawn:
            run += np.repeat(random.normal(0, s.redrawn, (cells, s.splits)), s.seeds, axis=1)
        total = np.sqrt(s.difficulty**2 + s.taste**2 + luck**2 + shift**2 + s.redrawn**2)
        threshold = -special.ndtri(np.array(self.layout.errors) / 100)[:, None] * total
        image = random.normal(0, s.difficulty, s.images)
        score = image + random.normal(0, s.taste, (cells, s.images))
        score = score[:, None, :] + run[:, :, None]
        noise = random.standard_normal((cells, runs, s.images), dtype=np.float32)
        incorrect = score + luck[:, :, None] * noise > threshold[:, :, None]
        names = self.labels.run.to_numpy().reshape(cells, runs)
        self.outcomes = {
            name: row
            for name, row in zip(names.ravel(), incorrect.reshape(-1, s.images), strict=True)
        }
        errors = 100 * incorrect.mean(axis=2)
        inner = np.sqrt(s.difficulty**2 + s.taste**2 + luck**2)
        expected = 100 * special.ndtr((run - threshold) / inner)
        validation = expected + random.normal(0, 1.0, expected.shape)
        frame = self._measured(self.labels, errors, validation, random)
        return frame, self._curves(self.labels, expected, random)

    def _frame(self, seeds: int, splits: int) -> pd.DataFrame:
        frame = pd.DataFrame(
            cell | {"seed": seed, "split": split, "run": f"{cell['cell']}-s{seed}-d{split}"}
            for cell in self.layout.cells
            for split in range(splits)
            for seed in range(seeds)
        )
        of = frame.teacher + " " + frame.seed.astype(str) + " " + frame.split.astype(str)
        frame["teacher_run"] = ("of " + of).where(frame.teacher != "", "")
        return frame if splits > 1 else frame.drop(columns="split")

    def _measured(self, frame, errors, validation, random) -> pd.DataFrame:
        """The frame with all that is measured. random: None where there is no noise."""
        s, shape = self.setting, errors.shape
        normal = (lambda sd: random.normal(0, sd, shape)) if random else (lambda sd: 0.0)
        large = (frame.teacher == L).to_numpy().reshape(shape)
        eskd = (frame.method_kind == "eskd").to_numpy().reshape(shape)
        size = np.log2(frame.teacher_multiply_adds.to_numpy(float)).reshape(shape)
        of_teacher = frame.teacher.map({M: 9.0, D: 8.0, L: 6.0, "better": 7.0}).to_numpy(float)
        measured = {"test_error": errors, "val_error": validation}
        for split in ("train", "test", "val"):
            measured[f"{split}_kd_error"] = 10 + s.effect * large + normal(1.0)
            measured[f"{split}_kl"] = 1 + 0.1 * s.effect * (large + eskd) + normal(0.1)
            measured[f"{split}_nll"] = 1 - 0.1 * s.effect * eskd + normal(0.1)
            measured[f"{split}_entropy"] = 1 - 0.05 * s.effect * size + normal(0.1)
        teachers = of_teacher.reshape(shape) + normal(0.3)
        measured |= {"teacher_val_error": teachers, "teacher_test_error": teachers}
        lost = frame.cell.isin(s.missing).to_numpy().reshape(shape)
        if random:
            lost = lost | (random.random(shape) < s.holes)
        known = {name: np.where(lost, np.nan, one).ravel() for name, one in measured.items()}
        status = np.where(lost.ravel(), "diverged", "done")
        return frame.assign(**known, status=status)

    def _curves(self, frame, errors, random) -> pd.DataFrame:
        """Validation errors of scratch and full KD: better early by the effect, and worse late."""
        requests = (frame.kind == "scratch") | (frame.method == "kd") & (frame.stop == "full")
        requests &= (frame.generation <= 1) & (frame.block == "")
        runs, known = frame.run[requests].tolist(), errors.ravel()[requests.to_numpy()]
        taught = (frame.kind[requests] == "student").to_numpy()
        epochs = np.arange(1, 9)  # two of each rate
        rates = 0.1 * 0.2 ** ((epochs - 1) // 2)
        gain = self.setting.effect * np.where(epochs < 5, -1.0, 1.0)
        values = BASE + taught[:, None] * gain + np.zeros((len(known), len(epochs)))
        if random:
            values += random.normal(0, 1.0, values.shape)
        columns = {"run": np.repeat(runs, len(epochs)), "epoch": np.tile(epochs, len(runs))}
        columns |= {"lr": np.tile(rates, len(runs)), "val_error": values.ravel()}
        return pd.DataFrame(columns)
