"""The tables of a report: pure functions from one tidy frame to numbers and to text.

A frame holds one row per cell and seed (see records), restricted to the blocks a table reads,
with the scratch runs and ensembles that belong to them. Errors are top-1 in points, differences
are paired by seed and negative is better. A cell without results keeps its row, with the reason.
`TABLES` lists what there is; what the paper claims is judged elsewhere, on the same selections.
"""

import pandas as pd

from kdpipe import attention, published, sequences
from kdpipe.cells import LOSSES, WEIGHTS, by_seed, direct, groups, teacher_errors, tidy, where
from kdpipe.formats import HOW_TO_READ, KINDS, Table, made, text
from kdpipe.rows import chosen_row, estimate, row, scratch_of

__all__ = ["TABLES"]

_ENDS = ("train", "test")


def teacher_size(frame: pd.DataFrame) -> Table:
    """Fully trained teachers of rising size for one student (Fig. 2, Table 1)."""
    frame = tidy(frame)
    taught = where(direct(frame), stop_kind="full")
    rows = []
    for key, cells in groups(taught, "student"):
        alone = where(frame, kind="scratch", **key)
        found = {"method": "scratch", "teacher": "", "published": published.beside(alone)}
        rows.append(key | found | row(alone))
        cells = cells.sort_values("method", kind="stable")
        for arm, cell in groups(cells, "method", "method_kind", "teacher"):
            found = arm | {"published": published.beside(cell)}
            rows.append(key | found | row(cell, vs_scratch=by_seed(alone)))
    columns = "student method teacher teacher_parameters teacher_error error vs_scratch"
    return made("teacher_size", "Teachers of rising size", HOW_TO_READ, rows, columns)


def mimicry(frame: pd.DataFrame) -> Table:
    """How far students stay from their fully trained teachers (Table 2)."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(direct(frame), stop_kind="full").sort_values(
        ["student_rank", "student", "method"], kind="stable"
    )
    measures = [f"{s}_{loss}" for loss in ("kd_error", "kl", "cross_entropy") for s in _ENDS]
    rows = []
    for key, cell in groups(taught, "student", "method", "method_kind", "temperature", "teacher"):
        rows.append(key | row(cell, measures, vs_scratch=scratch[key["student"]]))
    columns = f"student method teacher {' '.join(measures)} error vs_scratch"
    caption = (
        "KD error: points of images that student and teacher classify differently. KL and "
        "cross-entropy to the teacher carry T^2, in nat: compare them at one temperature only."
    )
    return made("mimicry", "Mimicry of the teacher", caption, rows, columns)


def eskd(frame: pd.DataFrame) -> Table:
    """KD stopped early against KD to the end, alike in all but the stop (Table 3)."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    taught = where(direct(frame), method_kind=["kd", "eskd"])
    measures = ["train_nll", "train_kl", "test_kl"]
    rows = []
    for key, cells in groups(taught, "student", "teacher", "stop", "temperature", *WEIGHTS):
        full, stopped = where(cells, method_kind="kd"), where(cells, method_kind="eskd")
        if stopped.empty:
            continue
        for arm, cell in groups(full, "method", "kd_epochs"):
            arm |= {"published": published.beside(cell)}
            rows.append(key | arm | row(cell, measures, vs_scratch=scratch[key["student"]]))
        stopped = stopped.sort_values(["kd_epochs", "ce_weight_after_stop"], kind="stable")
        for arm, cell in groups(stopped, "method", "kd_epochs", "ce_weight_after_stop"):
            against = {"vs_scratch": scratch[key["student"]], "vs_full_kd": by_seed(full)}
            arm |= {"published": published.beside(cell)}
            rows.append(key | arm | row(cell, measures, **against))
    columns = (
        "student teacher stop method kd_epochs ce_weight_after_stop error vs_full_kd vs_scratch "
        "train_nll train_kl test_kl"
    )
    caption = f"{HOW_TO_READ} CE without its weight; KL times T^2, whether or not still trained on."
    return made("eskd", "Full KD and KD stopped early", caption, rows, columns)


def temperature(frame: pd.DataFrame) -> Table:
    """Methods that differ in temperature alone."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    alike = ("method_kind", *WEIGHTS, "kd_epochs", "ce_weight_after_stop")
    rows = []
    for key, cells in groups(direct(frame), "student", "teacher", "stop", *alike):
        if cells.temperature.nunique() < 2:
            continue
        sweep = cells.sort_values("temperature", kind="stable")
        for arm, cell in groups(sweep, "temperature", "method"):
            rows.append(key | arm | row(cell, vs_scratch=scratch[key["student"]]))
    columns = "student teacher stop temperature method error vs_scratch"
    return made("temperature", "Temperature", HOW_TO_READ, rows, columns)


def checkpoints(frame: pd.DataFrame) -> Table:
    """Teacher checkpoints (down) by students (across); in `data` one row for each pair."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    order = ["teacher_rank", "teacher", "stop_rank", "stop_epochs"]
    taught = direct(frame).sort_values(order, kind="stable")
    point = ("teacher", "teacher_network", "stop", "stop_kind", "stop_epochs", "teacher_lr")
    rows, grid = [], []
    for key, cells in groups(taught, *point):
        teacher = key | estimate("teacher_error", teacher_errors(cells))
        shown = {"teacher": "teacher", "stop": "stop", "epochs": "stop_epochs", "lr": "teacher_lr"}
        shown["error of the teacher"] = "teacher_error"
        line = {heading: text(teacher, column) for heading, column in shown.items()}
        for arm, cell in groups(cells, "student", "method", "method_kind"):
            found = key | arm | row(cell, vs_scratch=scratch[arm["student"]])
            rows.append(found)
            verdict = found["vs_scratch_mark"]
            heading = f"{arm['student']}, {arm['method']}"
            if arm["method_kind"].startswith("at"):
                heading += f" ({KINDS[arm['method_kind']]})"
            line[heading] = f"{text(found, 'error')} (n {found['n']}, {verdict})"
        grid.append(line)
    caption = (
        f"{HOW_TO_READ} In brackets the verdict against scratch. A checkpoint before the first "
        "drop of the learning rate (lr) is noisy."
    )
    display = pd.DataFrame(grid).fillna("-")
    return Table("checkpoints", "Teacher checkpoints", caption, pd.DataFrame(rows), display)


def early_stopped(frame: pd.DataFrame) -> Table:
    """Early-stopped teachers, each kind for itself, against the full teacher (Tables 7, 8)."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    rows = []
    for key, cells in groups(direct(frame), "student", "method", "method_kind", "teacher"):
        if set(cells.stop_kind) == {"full"}:
            continue
        full = by_seed(where(cells, stop_kind="full"))
        for kind, stopped in groups(cells, "stop_kind"):
            against = {"vs_scratch": scratch[key["student"]]}
            if kind["stop_kind"] != "full":
                against["vs_full"] = full
            lengths = {}
            for stop, cell in groups(stopped, "stop", "stop_epochs"):
                lengths[stop["stop"]] = cell
                stop |= {"published": published.beside(cell)}
                rows.append(key | kind | stop | row(cell, **against))
            if kind["stop_kind"] != "full":
                chosen = {"stop": f"{kind['stop_kind']}, chosen"}
                rows.append(key | kind | chosen | chosen_row(lengths, **against))
    columns = "student method teacher stop teacher_error error error_median vs_full vs_scratch"
    caption = (
        f"{HOW_TO_READ} `schedule a/n`: a run of n epochs with a drop every a; `checkpoint n`: the "
        "full run after epoch n; `chosen`: for each seed the length with the lowest mean "
        "validation error of the other seeds."
    )
    return made("early_stopped", "Early-stopped teachers", caption, rows, columns)


def ensembles(frame: pd.DataFrame) -> Table:
    """Every ensemble with its price, beside one network and one trained for longer."""
    frame = tidy(frame)
    scratch = scratch_of(frame)
    measures = ["test_nll", "test_ece"]
    path = ("method", "teacher", "stop")  # of the block whose generations are averaged
    rows = []
    for key, teams in groups(where(frame, kind="ensemble"), "student"):
        several = key["student"] == ""  # an ensemble of several networks has no partner
        base = None if several else scratch[key["student"]]
        alone = teams[:0] if several else where(frame, kind=["scratch", "scratch_long"], **key)
        for arm, cell in groups(alone.sort_values(["kind", "epochs"]), "kind", "epochs"):
            longer = {"vs_scratch": base} if arm["kind"] == "scratch_long" else {}
            name = {"ensemble": arm["kind"].replace("_", " "), "size": 1}
            rows.append(key | name | arm | row(cell, measures, **longer))
        teams = teams.sort_values("size", kind="stable")
        for team, cell in groups(teams, "ensemble", "size", "of", *path):
            rows.append(key | team | row(cell, measures, vs_scratch=base))
    columns = (
        "student ensemble method teacher size parameters multiply_adds epochs "
        "train_macs error vs_scratch test_nll test_ece"
    )
    caption = f"{HOW_TO_READ} Operations: multiply-adds for one image; training: of a whole run."
    return made("ensembles", "Ensembles", caption, rows, columns)


def losses(frame: pd.DataFrame) -> Table:
    """Cross-entropy and both forms of the KD loss of every cell, last and best epoch."""
    best = [f"best_{loss}" for loss in LOSSES if f"best_{loss}" in frame]
    frame = tidy(frame)
    scratch = scratch_of(frame)
    measures = [*LOSSES, *best, "best_epoch", "best_val_error", "best_test_error"]
    cell_of = ("kind", "student", "method", "teacher", "stop", "via", "generation", "ensemble")
    rows = []
    for key, cell in groups(frame, *cell_of, "method_kind", "epochs"):
        compared = key["student"] and key["kind"] != "scratch"
        base = scratch[key["student"]] if compared else None
        rows.append(key | row(cell, measures, vs_scratch=base))
    shown = [column for column in measures if "val_" not in column]
    columns = f"{' '.join(cell_of)} error {' '.join(shown)}"
    caption = "Final values: eval mode, centre view. Best: lowest validation error. KL times T^2."
    return made("losses", "Losses", caption, rows, columns)


def transfer(frame: pd.DataFrame) -> Table:
    """What the features of students and teachers are worth on other data (Section 5.6)."""
    probes = frame[frame.kind == "probe"]
    rows = []
    for name, asked in groups(probes, "transfer", "data") if len(probes) else ():
        asked = tidy(asked.assign(kind=asked["of"]))
        scratch = scratch_of(asked)
        taught = where(asked, kind=["scratch", "student"])
        for key, cells in groups(taught, "student"):
            alone = where(cells, kind="scratch")
            rows.append(name | key | {"features": "scratch"} | _probed(alone))
            path = ("teacher", "stop", "via", "generation", "method")
            for arm, cell in groups(where(cells, kind="student"), *path):
                found = _probed(cell, vs_scratch=scratch[key["student"]])
                rows.append(name | key | {"features": "student"} | arm | found)
        for arm, cell in groups(where(asked, kind="teacher"), "teacher", "stop"):
            rows.append(name | {"features": "teacher"} | arm | _probed(cell))
    columns = "data features student teacher stop via generation method error vs_scratch own_error"
    caption = (
        f"{HOW_TO_READ} The errors are those of a linear classifier on the features of a finished "
        "network, on other data than it was trained on; its own is the network's on the study's "
        "data."
    )
    return made("transfer", "Features on other data", caption, rows, columns)


def _probed(cell: pd.DataFrame, **against: pd.Series) -> dict:
    """The row of a probe; says how many of the chosen classifiers had not converged."""
    found = row(cell, ["own_error"], **against)
    short = cell.drop_duplicates("run").converged.astype(str).eq("False").sum()
    notes = [found["notes"], f"{short} classifiers had not converged" if short else ""]
    return found | {"notes": "; ".join(note for note in notes if note)}


TABLES = {
    "teacher_size": teacher_size,
    "mimicry": mimicry,
    "eskd": eskd,
    "temperature": temperature,
    "checkpoints": checkpoints,
    "early_stopped": early_stopped,
    "attention": attention.attention,
    "generations": sequences.generations,
    "chains": sequences.chains,
    "improved_teacher": sequences.improved_teacher,
    "staged": sequences.staged,
    "ensembles": ensembles,
    "losses": losses,
    "transfer": transfer,
}
