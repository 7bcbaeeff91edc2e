"""A study whose truth is known: cells, their true errors, and single images drawn around them.

Every claim finds the cells that it needs. A run answers image i wrongly if

    difficulty(i) + taste(cell, i) + luck(run, i) + shift(run) + redrawn(cell, split)
        > threshold(cell)

all normal and independent, so the true error of a cell is a normal tail and exactly as set. The
difficulty is common to all runs, the taste to all seeds of a cell, what a split does to a cell to
all seeds in that split. Images, seeds and splits are drawn anew for each study, so true means over
all of them.

So are the errors on the images of validation, which are other ones in each split, those after each
epoch, and the disagreement with the teacher. A loss of image i (cross-entropy, KL, entropy) is

    mean(cell) + difficulty(i) + taste(group, i) + taste(cell, i) + luck(run, i) + shift(run)

where cells of one method and stop are a group, what single images add is skewed as losses are (an
exponential), and tastes are as large as `image_noise` says. What is measured on training images has
noise of seeds alone.

The published study of Fashion-MNIST (10,000 test images, ten seeds) has, in the contrasts of its
claims, a component of the image from .02 (full KD - ESKD, early-stopped teachers) to .4
(generations and ensembles - scratch) of that of seed x image; it is .1 here, .3 where the noise is
that of images. The images add .16 to .53 seeds' standard deviations to the mean of such a contrast;
to that of a loss they add .3 here, and 1 where the noise is that of images.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pandas as pd
from scipy import special

from kdpipe.runs.class_metrics import compute_decision_values

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
KD_ERROR_SD, LOSS_SD = 1.0, 0.1  # of one seed, in points and in nat
CURVE_EPOCHS = np.arange(1, 9)  # two of each learning rate


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
    validation: int = 400  # images
    image_noise: float = 0.3  # sd that images add to the mean of a loss, in sds of a seed
    missing: tuple[str, ...] = ()  # cells without any run
    holes: float = 0.0  # the share of single runs that diverged
    looks: tuple[int, ...] = ()  # after how many seeds the study is looked at; the last is `seeds`
    # Of a study by balanced accuracy: the share of images of each class, and its error in times the
    # balanced one (their mean is 1). Empty: errors are top-1.
    class_shares: tuple[float, ...] = ()
    class_errors: tuple[float, ...] = ()


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


def _list_labels(shares: tuple[float, ...], images: int) -> np.ndarray:
    """The class of each image, the classes one after the other."""
    ends = np.round(np.cumsum(shares) * images).astype(int)
    return np.repeat(np.arange(len(shares)), np.diff(ends, prepend=0))


def _by_class(wrong: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The values of images whose mean is the balanced error, as a study computes them."""
    other = (labels + 1) % (labels.max() + 1)
    return np.stack(
        [compute_decision_values(np.where(row, other, labels), labels, "balanced") for row in wrong]
    )


def _of_chains(cell: dict) -> bool:
    taught = cell["kind"] == "student" and cell["student"] == SMALL and cell["generation"] == 1
    plain = cell["method"] == "kd" and cell["stop"] == "full" and not cell["block"]
    return taught and plain and cell["teacher"] in (M, L, "better")


class Studies:
    """Studies of one setting, one after the other. chains: of the cells of C10 alone."""

    judged: ClassVar[dict] = {}  # what the judge is told beside the data

    def derive_truth(self) -> dict:
        """What the noise-free study cannot tell: nothing."""
        return {}

    def __init__(self, setting: Setting, chains: bool = False):
        self.setting = setting
        self.layout = layout(setting)
        if chains:
            remaining = [index for index, cell in enumerate(self.layout.cells) if _of_chains(cell)]
            self.layout.cells = [self.layout.cells[index] for index in remaining]
            self.layout.errors = [self.layout.errors[index] for index in remaining]
        self.labels = self._frame(setting.seeds, setting.splits)
        self.rows = {run: row for row, run in enumerate(self.labels.run)}
        self.by_image: dict[str, np.ndarray] = {}
        self.curve_rows: dict[str, int] = {}

    def truth(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Frame and curves of three seeds without any noise."""
        frame = self._frame(3, 1)
        errors = np.repeat(self.layout.errors, 3).reshape(-1, 3)
        taught = frame.loc[self._has_curve(frame)]
        known = {"test_error": errors, "val_error": errors}
        return self._measured(frame, known, None), self._curves(taught, self._true_curves(taught))

    def draw(self, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Frame and curves of one study; single images are in `load_images`."""
        s, cells = self.setting, len(self.layout.cells)
        factor = np.where(np.arange(cells) % 2, s.uneven, 1.0)[:, None]
        luck, shift = s.luck * factor, s.shift * factor
        runs = s.seeds * s.splits  # of a cell, its seeds in one split after the other
        run = random.normal(0, 1, (cells, runs)) * shift
        if s.redrawn:
            run += np.repeat(random.normal(0, s.redrawn, (cells, s.splits)), s.seeds, axis=1)
        total = np.sqrt(s.difficulty**2 + s.taste**2 + luck**2 + shift**2 + s.redrawn**2)

        def draw_errors(
            errors, run, images: int, sets: int, factors: np.ndarray | float = 1.0
        ) -> np.ndarray:
            """Which images each run gets wrong; of several splits the sets are their own.

            factors: of each image, by how much more often it is wrong.
            """
            ratio = np.asarray(errors)[:, :, None] / 100 * factors
            threshold = -special.ndtri(ratio) * total[:, :, None]
            score = random.normal(0, s.difficulty, (sets, images))
            score = score + random.normal(0, s.taste, (cells, sets, images))
            fixed = np.repeat(score, runs // sets, axis=1) + run[:, :, None] - threshold
            noise = random.standard_normal((cells, runs, images), dtype=np.float32)
            noise *= luck[:, :, None].astype(np.float32)
            return (noise > -fixed.astype(np.float32)).reshape(-1, images)

        errors = np.asarray(self.layout.errors)[:, None]
        frame = self.labels
        by_image = {}
        for split, images, sets in (("test", s.images, 1), ("val", s.validation, s.splits)):
            labels = _list_labels(s.class_shares, images)
            factors = np.asarray(s.class_errors)[labels] if s.class_shares else 1.0
            wrong = draw_errors(errors, run, images, sets, factors)
            by_image[f"{split}_error"] = _by_class(wrong, labels) if s.class_shares else wrong
        means = self._means(frame, (cells, runs))
        other = random.normal(0, 1, (cells, runs)) * shift
        disagreement = means["kd_error"][:, :1]
        by_image["test_kd_error"] = draw_errors(disagreement, other, s.images, 1)
        by_image["val_kd_error"] = draw_errors(disagreement, other, s.validation, s.splits)
        for split, images, sets in (("test", s.images, 1), ("val", s.validation, s.splits)):
            for loss in ("kl", "nll", "entropy"):
                draws = self._draw_losses(random, (cells, runs, images), sets)
                by_image[f"{split}_{loss}"] = (means[loss][:, :, None] + draws).reshape(-1, images)
        self.by_image = by_image
        measured = {
            column: (values.mean(axis=1) * (100.0 if values.dtype == bool else 1.0)).reshape(
                cells, runs
            )
            for column, values in by_image.items()
        }
        frame = self._measured(frame, measured, random)
        return frame, self._draw_curves(self.labels, random)

    def _draw_losses(self, random, shape: tuple[int, int, int], sets: int) -> np.ndarray:
        """What a loss differs by from the mean of its cell, of shape (cells, runs, images)."""
        s, (cells, runs, images) = self.setting, shape
        groups = pd.factorize(self.labels.kind + self.labels.method + self.labels.stop)[0]
        groups = groups.reshape(cells, runs)[:, 0]

        def draw(*size: int) -> np.ndarray:
            return random.standard_exponential(size, dtype=np.float32) - 1

        scale = LOSS_SD * np.sqrt(images)  # of an image, if all of a seed's noise were of images
        taste = draw(1, sets, images)
        taste = taste + s.image_noise * np.sqrt(0.5) * draw(groups.max() + 1, sets, images)[groups]
        taste += s.image_noise * np.sqrt(0.5) * draw(cells, sets, images)
        noise = draw(cells, runs, images) * np.float32(np.sqrt(0.5))
        noise += np.repeat(taste, runs // sets, axis=1)
        noise *= np.float32(scale)
        return noise + random.normal(0, LOSS_SD * np.sqrt(0.5), (cells, runs, 1))

    def load_images(self, part) -> np.ndarray | None:
        """A quantity of a run on single images, as `stats.error_provenance` asks for it.

        part: the name of a run, for which of the test images it gets wrong; or what has a run, a
        metric (a column of the frame) and epochs (of a curve).
        """
        if isinstance(part, str):
            row = self.rows.get(part)
            if row is None:
                return None
            errors = self.by_image["test_error"][row]
            return errors if errors.dtype == bool else errors / 100.0
        if part.epochs:
            wrong = self.by_image["curves"][self.curve_rows[part.run]]
            return 100.0 * wrong[[epoch - 1 for epoch in part.epochs]].mean(axis=0)
        values = self.by_image.get(part.metric)
        if values is None:
            return None
        return values[self.rows[part.run]] * (100.0 if values.dtype == bool else 1.0)

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

    def _means(self, frame: pd.DataFrame, shape: tuple[int, int]) -> dict[str, np.ndarray]:
        """The true means of what is measured beside errors, of shape (cells, runs)."""
        effect = self.setting.effect
        large = (frame.teacher == L).to_numpy().reshape(shape)
        eskd = (frame.method_kind == "eskd").to_numpy().reshape(shape)
        size = np.log2(frame.teacher_multiply_adds.to_numpy(float)).reshape(shape)
        return {
            "kd_error": 10 + effect * large,
            "kl": 1 + 0.1 * effect * (large + eskd),
            "nll": 1 - 0.1 * effect * eskd,
            "entropy": 1 - 0.05 * effect * np.nan_to_num(size),
        }

    def _measured(self, frame, known: dict[str, np.ndarray], random) -> pd.DataFrame:
        """The frame with all that is measured. random: None where there is no noise.

        known: what was measured on images, of shape (cells, runs); the rest has noise of seeds.
        """
        s, shape = self.setting, known["test_error"].shape
        normal = (lambda sd: random.normal(0, sd, shape)) if random else (lambda sd: 0.0)
        measured = dict(known)
        for quantity, mean in self._means(frame, shape).items():
            for split in ("train", "test", "val"):
                sd = KD_ERROR_SD if quantity == "kd_error" else LOSS_SD
                column = f"{split}_{quantity}"
                if column not in measured:
                    measured[column] = mean + normal(sd)
        of_teacher = frame.teacher.map({M: 9.0, D: 8.0, L: 6.0, "better": 7.0}).to_numpy(float)
        number, teachers = pd.factorize(frame.teacher_run)
        noise = random.normal(0, 0.3, len(teachers)) if random else np.zeros(len(teachers))
        teachers = (of_teacher + noise[number]).reshape(shape)
        measured |= {"teacher_val_error": teachers, "teacher_test_error": teachers}
        lost = frame.cell.isin(s.missing).to_numpy().reshape(shape)
        if random:
            lost = lost | (random.random(shape) < s.holes)
        known = {name: np.where(lost, np.nan, one).ravel() for name, one in measured.items()}
        status = np.where(lost.ravel(), "diverged", "done")
        return frame.assign(**known, status=status)

    def _has_curve(self, frame: pd.DataFrame) -> np.ndarray:
        """Scratch and full KD."""
        requests = (frame.kind == "scratch") | (frame.method == "kd") & (frame.stop == "full")
        return (requests & (frame.generation <= 1) & (frame.block == "")).to_numpy()

    def _true_curves(self, frame: pd.DataFrame) -> np.ndarray:
        """Validation errors by run and epoch: better early by the effect, and worse late."""
        taught = (frame.kind == "student").to_numpy()
        gain = self.setting.effect * np.where(CURVE_EPOCHS < 5, -1.0, 1.0)
        return BASE + taught[:, None] * gain + np.zeros((len(frame), len(CURVE_EPOCHS)))

    def _draw_curves(self, frame: pd.DataFrame, random) -> pd.DataFrame:
        """The curves of one study, errors on the images of validation after each epoch."""
        s = self.setting
        frame = frame.loc[self._has_curve(frame)]
        true = self._true_curves(frame)
        split = frame.split.to_numpy() if "split" in frame else np.zeros(len(frame), int)
        cell, cells = pd.factorize(frame.cell)
        spread = np.sqrt(s.difficulty**2 + s.taste**2 + s.luck**2 + s.shift**2)
        threshold = -special.ndtri(true / 100) * spread
        score = random.normal(0, s.difficulty, (s.splits, s.validation))
        score = score + random.normal(0, s.taste, (len(cells), s.splits, s.validation))
        score = score[cell, split][:, None] - threshold[:, :, None]
        score += random.normal(0, s.shift, (*threshold.shape, 1))
        noise = random.standard_normal((*threshold.shape, s.validation), dtype=np.float32)
        wrong = s.luck * noise > -score
        self.by_image["curves"] = wrong
        self.curve_rows = {run: row for row, run in enumerate(frame.run)}
        return self._curves(frame, 100 * wrong.mean(axis=2))

    def _curves(self, frame: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
        """Curves of validation errors, of shape (runs, epochs)."""
        columns = {"run": np.repeat(frame.run.tolist(), len(CURVE_EPOCHS))}
        columns |= {"epoch": np.tile(CURVE_EPOCHS, len(frame))}
        rates = 0.1 * 0.2 ** ((CURVE_EPOCHS - 1) // 2)
        columns |= {"lr": np.tile(rates, len(frame)), "val_error": values.ravel()}
        return pd.DataFrame(columns)
