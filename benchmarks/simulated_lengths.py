"""Studies of lengths, images and teachers whose truth is known: for the claims E, D and N.

The shape is that of studies/fashion_lengths.yaml: one student of 30 to 480 epochs, on labels and
taught by the largest teacher, trained in full and four times as long. Beside it stand two smaller
teachers and two that were stopped early (N1, N2), the same with few images (D1), and KD that stops
early (N4). The noise is that of `simulated.Setting`, and so is the model of a run:

    difficulty(i) + own(run, i) + shift(run) > threshold(cell), own = taste(cell, i) + luck(run, i)

A taught student copies its teacher of the same seed, in test images and in those of validation:

    own(student, i) = c own(teacher, i) + sqrt(1 - c^2) own(itself, i)

so that its error is as set whatever the strength c is, which is 0 without an effect. Prices are in
epochs of the student on labels and all images.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import optimize, special, stats
from simulated import BASE, Setting

from kdpipe.config.schema import SmallestEffects

CLAIMS = ("E1", "E1p", "E2", "E3", "E4", "D1", "N1", "N2", "N3", "N4")
PRIMARY = CLAIMS[0], *CLAIMS[2:5]  # as the registration of fashion_lengths has them
UNITS = ("points", "rho", "points of a group")  # of contrasts whose coverage is counted
LENGTHS = (30, 60, 120, 240, 480)
SHORT, FEW, ALL = LENGTHS[0], 600, 6000
STUDENT, SMALLER, MIDDLE, LARGEST = "wrn10-0.5", "wrn10-1", "wrn16-1", "wrn16-2"
MULTIPLY_ADDS = {STUDENT: 1, SMALLER: 3, MIDDLE: 9, LARGEST: 27}
FIRST_DROP = 9  # the epoch after which a teacher's learning rate falls
FULL, LONGER = "full", "schedule 120 (longer)"
STOPS = {FULL: ("full", 30), LONGER: ("longer", 120)}
STOPS |= {f"checkpoint {epoch}": ("checkpoint", epoch) for epoch in (6, 18)}
WHOLE_RUNS = (FULL, LONGER)
MORE = 2.0  # points that few images add to every error
MEASURES = {"val_nll": (0.3, 0.02, 0.01), "val_ece": (3.0, 0.4, 0.2)}  # least, step, sd of a seed
RHO_TEXTS = [
    f"Spearman's rho of the student's error and its teacher's {measure} on validation, mean over "
    "students"
    for measure in ("NLL", "calibration error")
]
RHO_STUDIES = 300  # from which the expected rank correlation is computed


@dataclass(frozen=True)
class LengthSetting(Setting):
    """A truth and a noise; six seeds, as fashion_lengths has them.

    `effect`: of every claim, in its smallest effects, but of N1 and N2: their rho is what comes of
    errors that rise by half an effect and less from one teacher to the next.
    """

    seeds: int = 6


class LengthStudies:
    """Studies of one setting, one after the other."""

    # What the judge is told beside the data.
    judged: ClassVar[dict] = {"primary": PRIMARY, "claims": CLAIMS}

    def __init__(self, setting: LengthSetting):
        self.setting = setting
        self.is_null = not setting.effect  # every contrast is 0, whatever was chosen
        self.cells, self.errors = _list_cells(setting.effect)
        self.total = self.measure_total()
        teachers = {
            (cell["teacher"], cell["stop"], cell["images"]): number
            for number, cell in enumerate(self.cells)
            if cell["kind"] == "teacher"
        }
        self.teacher = [  # of each cell, -1 of one that has none
            -1
            if cell["kind"] == "teacher"
            else teachers.get((cell["teacher"], cell["stop"], cell["images"]), -1)
            for cell in self.cells
        ]
        self.strength = self._solve_strengths()
        self.labels = build_frame(self.cells, setting.seeds)
        self.rows = {}
        for row, (run, stop) in enumerate(zip(self.labels.run, self.labels.stop, strict=True)):
            if not stop.startswith("checkpoint") or self.labels.kind[row] == "student":
                self.rows[run] = row  # a teacher's images are known of its last epoch
        self.wrong = np.empty((0, 0), dtype=bool)

    def measure_total(self) -> float:
        """The standard deviation of a run's score over images, seeds and cells."""
        s = self.setting
        return float(np.sqrt(s.difficulty**2 + s.taste**2 + s.luck**2 + s.shift**2))

    def truth(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Frame and curves of three seeds without any noise."""
        frame = build_frame(self.cells, 3)
        errors = np.repeat(self.errors, 3)
        measures = {name: np.repeat(means, 3) for name, means in self.measure_teachers().items()}
        frame = frame.assign(test_error=errors, val_error=errors, **measures)
        return frame, _build_curves(frame)

    def derive_truth(self) -> dict[str, tuple[float, dict[str, float]]]:
        """What the noise-free study cannot tell: by claim its effect, and effects by contrast.

        The effect of a claim is in smallest effects.

        N3 and N4 compare images, of which a study without noise has none; the two groups of images
        have shares that follow from the bivariate normal scores of teacher and student. The rho of
        N1 and N2 is one of noisy errors: without an effect all students' errors are exchangeable,
        whatever their teachers' measures are, so it is 0; else it is the mean over many studies.
        """
        rhos = dict.fromkeys(MEASURES, 0.0) if not self.setting.effect else self._expect_rhos()
        kd, eskd = (self._expect_copied(kind, self.strength) for kind in ("kd", "eskd"))
        copied = np.mean(list(kd.values()), axis=0)
        stopped = np.mean([np.subtract(kd[key], eskd[key]) for key in eskd], axis=0)
        smallest, truth = SmallestEffects(), {}
        for claim, text, rho in zip(("N1", "N2"), RHO_TEXTS, rhos.values(), strict=True):
            truth[claim] = rho / smallest.rank, {text: rho}
        for claim, what, (wrong, right) in (
            ("N3", "copied errors, KD - scratch", copied),
            ("N4", "copied errors, full KD - ESKD", stopped),
        ):
            truth[claim] = (
                float(wrong - right) / smallest.kd_error,
                {
                    f"{what}, mean over cells": float(wrong - right),
                    f"{what}, more often wrong where the teacher is wrong": float(wrong),
                    f"{what}, more often right where the teacher is right": float(right),
                },
            )
        return truth

    def draw(self, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Frame and curves of one study; single test images are in `load_images`."""
        s, cells = self.setting, len(self.cells)
        run = random.normal(0, s.shift, (cells, s.seeds, 1)).astype(np.float32)
        run += (special.ndtri(np.array(self.errors) / 100) * self.total).astype(np.float32)[
            :, None, None
        ]
        self.wrong = self._draw_images(random, run, s.images)
        validation = self._draw_images(random, run, s.validation)
        measures = {
            name: np.repeat(means, s.seeds) + random.normal(0, MEASURES[name][2], len(self.labels))
            for name, means in self.measure_teachers().items()
        }
        frame = self.labels.assign(
            test_error=100 * self.wrong.mean(axis=1),
            val_error=100 * validation.mean(axis=1),
            **measures,
        )
        return frame, _build_curves(frame)

    def load_images(self, run) -> np.ndarray | None:
        """Which test images a run gets wrong; nothing else is known of single images."""
        row = self.rows.get(run) if isinstance(run, str) else None
        return None if row is None else self.wrong[row]

    def _draw_images(self, random, run: np.ndarray, images: int) -> np.ndarray:
        """Which images each run gets wrong, of shape (runs, images)."""
        s, cells = self.setting, len(self.cells)
        shape = (cells, s.seeds, images)
        own = random.standard_normal(shape, dtype=np.float32) * np.float32(s.luck)
        own += random.standard_normal((cells, 1, images), dtype=np.float32) * np.float32(s.taste)
        copies = np.flatnonzero(self.strength)
        strength = self.strength[copies, None, None].astype(np.float32)
        teachers = own[np.array(self.teacher)[copies]]
        own[copies] = strength * teachers + np.sqrt(1 - strength**2) * own[copies]
        difficulty = random.standard_normal(images, dtype=np.float32) * np.float32(s.difficulty)
        return (own + run + difficulty > 0).reshape(-1, images)

    def measure_teachers(self) -> dict[str, np.ndarray]:
        """The mean measures of the teachers, by cell: they rise as their students' errors do.

        Where these are all the same the order is the same all the same.
        """
        order = [error for _, error in zip(*_list_cells(2.0), strict=True)]
        by_size = {FEW: [], ALL: []}
        for cell, error, teacher in zip(self.cells, order, self.teacher, strict=True):
            if teacher >= 0 and cell["epochs"] == SHORT and cell["method"] == "kd":
                by_size[cell["images"]].append((error, teacher))
        place = np.full(len(self.cells), np.nan)
        for pairs in by_size.values():
            for position, (_, teacher) in enumerate(sorted(pairs)):
                place[teacher] = position
        return {name: least + step * place for name, (least, step, _) in MEASURES.items()}

    def _expect_rhos(self) -> dict[str, float]:
        """The mean over studies, students and seeds of Spearman's rho, each within a seed."""
        random, rhos = np.random.default_rng(0), {name: [] for name in MEASURES}
        taught = [
            (cell["images"], number, self.teacher[number])
            for number, cell in enumerate(self.cells)
            if cell["method"] == "kd" and cell["epochs"] == SHORT
        ]
        for _ in range(RHO_STUDIES):
            frame, _ = self.draw(random)
            shape = len(self.cells), self.setting.seeds
            errors = frame.test_error.to_numpy().reshape(shape)
            for name, values in rhos.items():
                measures = frame[name].to_numpy().reshape(shape)
                for size in (FEW, ALL):
                    students = [number for images, number, _ in taught if images == size]
                    teachers = [teacher for images, _, teacher in taught if images == size]
                    values += _correlate_ranks(errors[students], measures[teachers])
        return {name: float(np.mean(values)) for name, values in rhos.items()}

    def _solve_strengths(self) -> np.ndarray:
        """How much each cell copies: as much as makes N3 and N4 true by the effect."""
        effect, strength = self.setting.effect, np.zeros(len(self.cells))
        if not effect:
            return strength

        def expect(kind: str, value: float) -> dict[tuple, float]:
            known = self._expect_copied(kind, np.full(len(self.cells), value))
            return {key: wrong - right for key, (wrong, right) in known.items()}

        def miss(value: float) -> float:
            return float(np.mean(list(expect("kd", value).values()))) - effect

        copied = float(optimize.brentq(miss, -0.9, 0.9))  # pyright: ignore[reportArgumentType]
        full = expect("kd", copied)

        def miss_stopped(value: float) -> float:
            stopped = expect("eskd", value)
            return float(np.mean([full[key] - stopped[key] for key in stopped])) - effect

        values = {"kd": copied, "eskd": optimize.brentq(miss_stopped, -0.9, 0.9)}
        return np.array([values.get(cell["method_kind"], 0.0) for cell in self.cells])

    def _expect_copied(self, kind: str, strength: np.ndarray) -> dict[tuple, tuple[float, float]]:
        """By student and teacher, how much more often it is wrong, and right, than scratch.

        Of the images that its teacher gets wrong, and of the others, in points. Scores of two
        networks share the difficulty, and what a student copies; their tails are normal.
        """
        s, result = self.setting, {}
        scratch = {
            (c["images"], c["epochs"]): error
            for c, error in zip(self.cells, self.errors, strict=True)
            if c["kind"] == "scratch"
        }
        shared = s.difficulty**2 / self.total**2
        for number, (cell, error) in enumerate(zip(self.cells, self.errors, strict=True)):
            if cell["method_kind"] != kind or cell["stop"] not in WHOLE_RUNS:
                continue
            w = self.errors[self.teacher[number]] / 100
            copied = strength[number] * (s.taste**2 + s.luck**2) / self.total**2
            alone = scratch[cell["images"], cell["epochs"]] / 100
            both = _share_of_both(w, error / 100, shared + copied)
            both_alone = _share_of_both(w, alone, shared)
            wrong = (both - both_alone) / w
            right = -((error / 100 - both) - (alone - both_alone)) / (1 - w)
            key = cell["epochs"], cell["images"], cell["teacher"], cell["stop"]
            result[key] = 100 * wrong, 100 * right
        return result


def _correlate_ranks(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Spearman's rho of two measures of shape (cells, seeds), by seed."""
    pairs = [
        np.asarray(stats.zscore(stats.rankdata(part, axis=0), axis=0)) for part in (first, second)
    ]
    return (pairs[0] * pairs[1]).mean(axis=0).tolist()


def _share_of_both(first: float, second: float, correlation: float) -> float:
    """The share of images that two networks get wrong, from their errors."""
    ends = [special.ndtri(first), special.ndtri(second)]
    cov: Any = [[1, correlation], [correlation, 1]]
    return float(stats.multivariate_normal(cov=cov).cdf(ends))


def _list_cells(e: float) -> tuple[list[dict], list[float]]:
    """The cells, and their true errors in points with the effect e.

    On labels 30 epochs are worse by 2e, from 60 on nothing is gained. E1: every taught student is
    better by e than the scratch run of its price. E2: at 480 epochs it is better by 2e. E4: the
    full teacher is as good as the longer one less e / 2 at 30 epochs, and less 3e / 2 at 240.
    """
    cells, errors = [], []

    def add(error: float, kind: str, images: int, epochs: int, **labels) -> None:
        cells.append(label_cell(kind, images, epochs, **labels))
        errors.append(BASE + error + MORE * (images == FEW))

    def teach(error: float, images: int, epochs: int, stop: str, teacher: str = LARGEST, **kind):
        add(error, "student", images, epochs, teacher=teacher, stop=stop, **kind)

    own = {(LARGEST, FULL): -2.0, (LARGEST, LONGER): -3.0, (MIDDLE, FULL): -1.0, (SMALLER, FULL): 0}
    own |= {(LARGEST, "checkpoint 18"): -0.5, (LARGEST, "checkpoint 6"): 3.0}
    for images in (FEW, ALL):
        for (teacher, stop), error in own.items():
            if images == ALL or stop != LONGER:
                epochs = 120 if stop == LONGER else 30
                add(error, "teacher", images, epochs, teacher=teacher, stop=stop)
    for epochs in LENGTHS:
        add(2 * e if epochs == SHORT else 0.0, "scratch", ALL, epochs)
        teach(-2 * e if epochs == LENGTHS[-1] else -e, ALL, epochs, LONGER)
    for epochs, error in ((30, -e / 2), (120, 0.0), (240, e / 2)):
        teach(error, ALL, epochs, FULL)
        for stop in (0.3, 0.6):
            teach(-e, ALL, epochs, LONGER, stops_at=stop)
    # What smaller and earlier stopped teachers gain is e more with few images (D1).
    others = {("checkpoint 18", LARGEST): -e / 4, (FULL, MIDDLE): 0.0, (FULL, SMALLER): e / 2}
    others |= {("checkpoint 6", LARGEST): e}
    teach(0.0, FEW, SHORT, FULL)
    for (stop, teacher), error in others.items():
        teach(error, ALL, SHORT, stop, teacher)
        teach(error - e / 2, FEW, SHORT, stop, teacher)
    best = -3 * e / 4  # with few images, and a teacher of the largest network
    add(best + e, "scratch", FEW, SHORT)
    for price in (300, 1110):  # that of the student and its teacher's answers, and of the path
        add(best + e, "scratch_long", FEW, price)
    return cells, errors


def label_cell(
    kind: str, images: int, epochs: int, teacher: str = "", stop: str = "", stops_at: float = 0.0
) -> dict:
    """The columns of a cell that the claims read."""
    stop_kind, stop_epochs = STOPS.get(stop, ("", np.nan))
    network = "" if kind == "teacher" else STUDENT
    share = images / ALL
    answers = MULTIPLY_ADDS[teacher] / 3 if kind == "student" else 0.0  # of an epoch
    row = {"kind": kind, "block": "", "via": "", "ensemble": "", "member": 0, "status": "done"}
    row |= {"reason": "", "device": "cpu", "torch": "2", "network": network, "student": network}
    row |= {"epochs": epochs, "length": epochs, "train_size": images, "images": images}
    row |= {"multiply_adds": MULTIPLY_ADDS.get(network or teacher), "train_macs": epochs * share}
    row |= {"teacher": teacher, "teacher_network": teacher, "stop": stop, "stop_kind": stop_kind}
    row |= {"stop_epochs": stop_epochs, "teacher_multiply_adds": MULTIPLY_ADDS.get(teacher)}
    row |= {"teacher_train_size": images if teacher else np.nan, "method": "", "method_kind": ""}
    row |= {"teacher_macs": answers * epochs * share, "ancestor_macs": 0.0, "generation": 0}
    if kind == "student":
        trained = 120 if stop == LONGER else 30  # a checkpoint is one of the whole run
        row |= {"generation": 1, "ancestor_macs": MULTIPLY_ADDS[teacher] * trained * share}
        row |= {"method": f"eskd-{stops_at:g}" if stops_at else "kd", "temperature": 4.0}
        row |= {"method_kind": "eskd" if stops_at else "kd", "ce_weight": 0.1, "kd_weight": 0.9}
        row |= {"label_smoothing": 0.0, "ce_weight_after_stop": 1.0}
        row |= {"kd_epochs": round(stops_at * epochs) if stops_at else epochs}
    run_stop = FULL if kind == "teacher" and stop_kind == "checkpoint" else stop
    parts = (kind, images, epochs, teacher, run_stop, row["method"])
    return row | {"cell": "-".join(map(str, parts))}


def build_frame(cells: list[dict], seeds: int) -> pd.DataFrame:
    """The rows of a study, its seeds one after the other in each cell."""
    frame = pd.DataFrame(
        cell | {"seed": seed, "run": f"{cell['cell']}-s{seed}"}
        for cell in cells
        for seed in range(seeds)
    )
    keys = list(zip(frame.teacher, frame.stop, frame.images, frame.seed, strict=True))
    named = zip(frame.kind, keys, frame.run, strict=True)
    runs = {key: run for kind, key, run in named if kind == "teacher"}
    return frame.assign(teacher_run=[runs.get(key, "") for key in keys])


def _build_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """The learning rates of the teachers around their first drop."""
    runs = frame.loc[frame.kind == "teacher"].run.unique()
    epochs = [FIRST_DROP, FIRST_DROP + 1]
    columns = {"run": np.repeat(runs, 2), "epoch": np.tile(epochs, len(runs))}
    columns |= {"lr": np.tile([0.05, 0.01], len(runs)), "val_error": BASE}
    return pd.DataFrame(columns)
