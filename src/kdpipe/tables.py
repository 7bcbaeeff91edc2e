"""The tables of a report: pure functions from one tidy frame to numbers and to text.

A frame holds one row per cell and seed (see records), restricted to the blocks a table reads,
with the scratch runs and ensembles that belong to them. Errors are top-1 in points, differences
are paired by seed and negative is better. A cell without results keeps its row, with the reason.
`TABLES` lists what there is; what the paper claims is judged elsewhere, on the same selections.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from kdpipe.statistics import choose, mark, paired, summary

__all__ = ["TABLES", "Table", "by_seed", "csv", "direct", "markdown", "tidy", "where"]

# What is read of a frame; a column that it lacks counts as empty.
LABELS = (
    *("kind", "block", "teacher", "teacher_network", "stop", "stop_kind", "via", "student"),
    *("method", "method_kind", "ensemble", "of", "run", "teacher_run", "status", "reason"),
)
LOSSES = tuple(
    f"{split}_{loss}"
    for loss in ("nll", "kl", "cross_entropy")
    for split in ("train", "val", "test")
)
NUMBERS = (
    *("seed", "member", "generation", "epochs", "stop_epochs", "size", "teacher_lr"),
    *("temperature", "kd_weight", "ce_weight", "kd_epochs", "ce_weight_after_stop"),
    *("label_smoothing", "parameters", "multiply_adds", "train_macs", "teacher_macs"),
    *("teacher_parameters", "teacher_multiply_adds", "teacher_test_error", "val_error"),
    *("test_error", "test_ece", "train_kd_error", "test_kd_error", *LOSSES),
    *("best_epoch", "best_val_error", "best_test_error"),
)
WEIGHTS = ("ce_weight", "kd_weight", "label_smoothing")
PRICES = ("parameters", "multiply_adds", "train_macs", "teacher_macs", "teacher_parameters")
_ENDS = ("train", "test")
STEP = " > "  # between the networks of a chain, and between the methods of its steps

HEADINGS = {  # of the columns of `data` in a report; others are shown under their own name
    "stop": "stop of the teacher",
    "teacher_parameters": "parameters of the teacher",
    "teacher_error": "error of the teacher",
    "teacher_network": "its network",
    "multiply_adds": "operations",
    "train_macs": "training operations",
    "error_median": "median",
    "kd_epochs": "KD epochs",
    "ce_weight_after_stop": "CE weight after",
    "test_ece": "ECE, test",
    "best_epoch": "best epoch",
    "best_test_error": "error at best",
    **{f"{split}_kd_error": f"KD error, {split}" for split in ("train", "test")},
    **{f"{split}_nll": f"CE, {split}" for split in ("train", "val", "test")},
    **{f"{split}_kl": f"KL, {split}" for split in ("train", "val", "test")},
    **{f"{split}_cross_entropy": f"CE to teacher, {split}" for split in ("train", "val", "test")},
    "vs_scratch": "against scratch",
    "vs_full_kd": "against full KD",
    "vs_full": "against the full teacher",
    "vs_scratch_ensemble": "against an equal ensemble",
    "vs_direct": "against large to small",
    "vs_medium": "against medium to small",
    "vs_plain": "against the plain one",
    "teacher_vs_plain": "teacher against the plain one",
}
HOW_TO_READ = (
    "Top-1 test error in points; mean ± half of the 95 % t interval over n seeds. Differences are "
    "paired by seed, negative is better."
)


@dataclass(frozen=True)
class Table:
    """One table: `data` holds every number in its own column, `display` the same rows as text."""

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    display: pd.DataFrame


def markdown(table: Table) -> str:
    """Title, caption and grid; numbers are rounded by their uncertainty."""
    grid = "No run of this study belongs here."
    if len(table.display):
        grid = table.display.to_markdown(index=False, disable_numparse=True)
    return f"**{table.title}.** {table.caption}\n\n{grid}\n"


def csv(table: Table) -> str:
    """Every number of the table, unrounded."""
    return table.data.to_csv(index=False, float_format="%.10g", lineterminator="\n")


# --- The tables ---------------------------------------------------------------------------------


def teacher_size(frame: pd.DataFrame) -> Table:
    """Fully trained teachers of rising size for one student (Fig. 2, Table 1)."""
    frame = tidy(frame)
    taught = where(direct(frame), stop_kind="full")
    rows = []
    for key, cells in _cells(taught, "student"):
        scratch = where(frame, kind="scratch", **key)
        rows.append(key | {"method": "scratch", "teacher": ""} | _row(scratch))
        cells = cells.sort_values("method", kind="stable")
        for arm, cell in _cells(cells, "method", "teacher"):
            rows.append(key | arm | _row(cell, vs_scratch=by_seed(scratch)))
    columns = "student method teacher teacher_parameters teacher_error error vs_scratch"
    return _table("teacher_size", "Teachers of rising size", HOW_TO_READ, rows, columns)


def mimicry(frame: pd.DataFrame) -> Table:
    """How far students stay from their fully trained teachers (Table 2)."""
    frame = tidy(frame)
    taught = where(direct(frame), stop_kind="full").sort_values(
        ["student_rank", "student", "method"], kind="stable"
    )
    measures = [f"{s}_{loss}" for loss in ("kd_error", "kl", "cross_entropy") for s in _ENDS]
    rows = []
    for key, cell in _cells(taught, "student", "method", "temperature", "teacher"):
        rows.append(key | _row(cell, measures, vs_scratch=_scratch(frame, key)))
    columns = f"student method teacher {' '.join(measures)} error vs_scratch"
    caption = (
        "KD error: points of images that student and teacher classify differently. KL and "
        "cross-entropy to the teacher carry T^2, in nat: compare them at one temperature only."
    )
    return _table("mimicry", "Mimicry of the teacher", caption, rows, columns)


def eskd(frame: pd.DataFrame) -> Table:
    """KD stopped early against KD to the end, alike in all but the stop (Table 3)."""
    frame = tidy(frame)
    taught = where(direct(frame), method_kind=["kd", "eskd"])
    measures = ["train_nll", "train_kl", "test_kl"]
    rows = []
    for key, cells in _cells(taught, "student", "teacher", "stop", "temperature", *WEIGHTS):
        full, stopped = where(cells, method_kind="kd"), where(cells, method_kind="eskd")
        if stopped.empty:
            continue
        for arm, cell in _cells(full, "method", "kd_epochs"):
            rows.append(key | arm | _row(cell, measures, vs_scratch=_scratch(frame, key)))
        stopped = stopped.sort_values(["kd_epochs", "ce_weight_after_stop"], kind="stable")
        for arm, cell in _cells(stopped, "method", "kd_epochs", "ce_weight_after_stop"):
            against = {"vs_scratch": _scratch(frame, key), "vs_full_kd": by_seed(full)}
            rows.append(key | arm | _row(cell, measures, **against))
    columns = (
        "student teacher stop method kd_epochs ce_weight_after_stop error vs_full_kd vs_scratch "
        "train_nll train_kl test_kl"
    )
    caption = f"{HOW_TO_READ} CE without its weight; KL times T^2, whether or not still trained on."
    return _table("eskd", "Full KD and KD stopped early", caption, rows, columns)


def temperature(frame: pd.DataFrame) -> Table:
    """Methods that differ in temperature alone."""
    frame = tidy(frame)
    alike = ("method_kind", *WEIGHTS, "kd_epochs", "ce_weight_after_stop")
    rows = []
    for key, cells in _cells(direct(frame), "student", "teacher", "stop", *alike):
        if cells.temperature.nunique() < 2:
            continue
        sweep = cells.sort_values("temperature", kind="stable")
        for arm, cell in _cells(sweep, "temperature", "method"):
            rows.append(key | arm | _row(cell, vs_scratch=_scratch(frame, key)))
    columns = "student teacher stop temperature method error vs_scratch"
    return _table("temperature", "Temperature", HOW_TO_READ, rows, columns)


def checkpoints(frame: pd.DataFrame) -> Table:
    """Teacher checkpoints (down) by students (across); in `data` one row for each pair."""
    frame = tidy(frame)
    order = ["teacher_rank", "teacher", "stop_rank", "stop_epochs"]
    taught = direct(frame).sort_values(order, kind="stable")
    point = ("teacher", "teacher_network", "stop", "stop_kind", "stop_epochs", "teacher_lr")
    rows, grid = [], []
    for key, cells in _cells(taught, *point):
        teacher = key | _estimate("teacher_error", _of_teacher(cells))
        shown = {"teacher": "teacher", "stop": "stop", "epochs": "stop_epochs", "lr": "teacher_lr"}
        shown["error of the teacher"] = "teacher_error"
        line = {heading: _text(teacher, column) for heading, column in shown.items()}
        for arm, cell in _cells(cells, "student", "method"):
            row = key | arm | _row(cell, vs_scratch=_scratch(frame, arm))
            rows.append(row)
            verdict = row["vs_scratch_mark"]
            line[", ".join(arm.values())] = f"{_text(row, 'error')} (n {row['n']}, {verdict})"
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
    rows = []
    for key, cells in _cells(direct(frame), "student", "method", "teacher"):
        if set(cells.stop_kind) == {"full"}:
            continue
        full = by_seed(where(cells, stop_kind="full"))
        for kind, stopped in _cells(cells, "stop_kind"):
            against = {"vs_scratch": _scratch(frame, key)}
            if kind["stop_kind"] != "full":
                against["vs_full"] = full
            lengths = {}
            for stop, cell in _cells(stopped, "stop", "stop_epochs"):
                lengths[stop["stop"]] = cell
                rows.append(key | kind | stop | _row(cell, **against))
            if kind["stop_kind"] != "full":
                chosen = {"stop": f"{kind['stop_kind']}, chosen"}
                rows.append(key | kind | chosen | _choice(lengths, **against))
    columns = "student method teacher stop teacher_error error error_median vs_full vs_scratch"
    caption = (
        f"{HOW_TO_READ} `schedule a/n`: a run of n epochs with a drop every a; `checkpoint n`: the "
        "full run after epoch n; `chosen`: for each seed the length with the lowest mean "
        "validation error of the other seeds."
    )
    return _table("early_stopped", "Early-stopped teachers", caption, rows, columns)


def generations(frame: pd.DataFrame) -> Table:
    """A network taught by itself again and again, and what its generations make together."""
    frame = tidy(frame)
    taught = where(frame, kind="student")
    taught = taught[~taught.method.str.contains(STEP, regex=False)]
    measures = ["test_nll", "test_ece"]
    rows = []
    for key, cells in _cells(taught, "student", "block", "method", "teacher", "stop", "via"):
        if cells.generation.max() < 2:
            continue
        network = {"student": key["student"]}
        scratch = where(frame, kind="scratch", **network)
        base = by_seed(scratch)
        rows.append(key | {"what": "scratch"} | _row(scratch, measures))
        for step, cell in _cells(cells.sort_values("generation", kind="stable"), "generation"):
            what = {"what": f"generation {step['generation']:g}"}
            rows.append(key | step | what | _row(cell, measures, vs_scratch=base))
        pool = where(frame, kind="ensemble", **network)
        sequences = where(pool, of=[key["block"], f"{key['block']}: {key['student']}"])
        path = {label: ["", key[label]] for label in ("method", "teacher", "stop")}
        sequences = where(sequences, size=cells.generation.max(), **path)
        for team, sequence in _cells(sequences, "ensemble", "size"):
            equal = where(pool, of=["", key["student"]], size=team["size"])
            for name, rival in list(_cells(equal, "ensemble", "size")) or [({}, equal)]:
                against = {"vs_scratch": base, "vs_scratch_ensemble": by_seed(rival)}
                if name:
                    what = {"what": f"{name['ensemble']}, {name['size']:g} scratch runs"}
                    rows.append(key | name | what | _row(rival, measures, vs_scratch=base))
                what = {"what": f"{team['ensemble']}, {team['size']:g} generations"}
                rows.append(key | team | what | _row(sequence, measures, **against))
    columns = "student method teacher what error vs_scratch vs_scratch_ensemble test_nll test_ece"
    return _table("generations", "Generations of one network", HOW_TO_READ, rows, columns)


def chains(frame: pd.DataFrame) -> Table:
    """Large to medium to small against large to small and medium to small (Table 6)."""
    frame = tidy(frame)
    plain = frame[~frame.method.str.contains(STEP, regex=False)]
    chained = where(plain, kind="student")
    chained = chained[(chained.via != "") & (chained.generation <= 1)]
    rows = {}  # by path, since chains share their direct students
    for key, cell in _cells(chained, "student", "method", "teacher", "stop", "via"):
        base = _scratch(frame, key)
        large = key | {"via": ""}
        block = key["teacher"].removeprefix(cell.teacher_label.iloc[0])  # nearly always ""
        medium = large | {"teacher": key["via"].split(STEP)[-1] + block, "stop": "full"}
        against = {}
        for name, path in (("vs_direct", large), ("vs_medium", medium)):
            part = where(direct(plain), **path)
            rows[tuple(path.values())] = _path(path) | _row(part, vs_scratch=base)
            against[name] = by_seed(part)
        rows[tuple(key.values())] = _path(key) | _row(cell, vs_scratch=base, **against)
    columns = "path stop method error vs_direct vs_medium vs_scratch"
    return _table("chains", "Chains", HOW_TO_READ, list(rows.values()), columns)


def improved_teacher(frame: pd.DataFrame) -> Table:
    """Students of a teacher that was itself distilled, beside those of its plain network."""
    frame = tidy(frame)
    taught = where(direct(frame), stop_kind="full")
    taught = taught[taught.teacher_network != ""]  # an ensemble is no network
    is_plain = taught.teacher_label == taught.teacher_network
    rows = []
    for key, cells in _cells(taught[~is_plain], "student", "method", "teacher_network"):
        base = _scratch(frame, key)
        plain = where(taught[is_plain], **key)
        label = plain.teacher.iloc[0] if len(plain) else key["teacher_network"]
        plain = where(plain, teacher=label)
        rows.append(key | {"teacher": label} | _row(plain, vs_scratch=base))
        for name, cell in _cells(cells, "teacher"):
            row = key | name | _row(cell, vs_scratch=base, vs_plain=by_seed(plain))
            rows.append(
                row | _difference("teacher_vs_plain", _of_teacher(cell), _of_teacher(plain))
            )
    columns = (
        "student method teacher teacher_network teacher_error teacher_vs_plain error vs_plain "
        "vs_scratch"
    )
    return _table("improved_teacher", "Improved teachers", HOW_TO_READ, rows, columns)


def staged(frame: pd.DataFrame) -> Table:
    """Chains with a method for each step, against one method all along and against direct."""
    frame = tidy(frame)
    taught = where(frame, kind="student")
    mixed = taught[taught.method.str.contains(STEP, regex=False)]
    mixed = mixed[(mixed.via != "") | (mixed.generation > 1)]
    rows = {}  # by path, since staged chains share their partners
    for key, cell in _cells(mixed, "student", "teacher", "stop", "via", "generation", "method"):
        base = _scratch(frame, key)
        chain = key | {"method": key["method"].split(STEP)[-1]}
        short = chain | {"via": "", "generation": 1}
        plain, straight = where(taught, **chain), where(direct(taught), **short)
        for path, part in ((short, straight), (chain, plain)):
            rows[tuple(path.values())] = _path(path) | _row(part, vs_scratch=base)
        against = {"vs_plain": by_seed(plain), "vs_direct": by_seed(straight)}
        rows[tuple(key.values())] = _path(key) | _row(cell, vs_scratch=base, **against)
    columns = "path stop generation method error vs_plain vs_direct vs_scratch"
    caption = f"{HOW_TO_READ} The plain chain and the direct student use the last step's method."
    title = "Chains with a method for each step"
    return _table("staged", title, caption, list(rows.values()), columns)


def ensembles(frame: pd.DataFrame) -> Table:
    """Every ensemble with its price, beside one network and one trained for longer."""
    frame = tidy(frame)
    measures = ["test_nll", "test_ece"]
    path = ("method", "teacher", "stop")  # of the block whose generations are averaged
    rows = []
    for key, teams in _cells(where(frame, kind="ensemble"), "student"):
        base = _scratch(frame, key) if key["student"] else None  # of several networks: no partner
        alone = (
            where(frame, kind=["scratch", "scratch_long"], **key) if key["student"] else teams[:0]
        )
        for arm, cell in _cells(alone.sort_values(["kind", "epochs"]), "kind", "epochs"):
            longer = {"vs_scratch": base} if arm["kind"] == "scratch_long" else {}
            name = {"ensemble": arm["kind"].replace("_", " "), "size": 1}
            rows.append(key | name | arm | _row(cell, measures, **longer))
        teams = teams.sort_values("size", kind="stable")
        for team, cell in _cells(teams, "ensemble", "size", "of", *path):
            rows.append(key | team | _row(cell, measures, vs_scratch=base))
    columns = (
        "student ensemble method teacher size parameters multiply_adds epochs "
        "train_macs error vs_scratch test_nll test_ece"
    )
    caption = f"{HOW_TO_READ} Operations: multiply-adds for one image; training: of a whole run."
    return _table("ensembles", "Ensembles", caption, rows, columns)


def losses(frame: pd.DataFrame) -> Table:
    """Cross-entropy and both forms of the KD loss of every cell, last and best epoch."""
    best = [f"best_{loss}" for loss in LOSSES if f"best_{loss}" in frame]
    frame = tidy(frame)
    measures = [*LOSSES, *best, "best_epoch", "best_val_error", "best_test_error"]
    cell_of = ("kind", "student", "method", "teacher", "stop", "via", "generation", "ensemble")
    rows = []
    for key, cell in _cells(frame, *cell_of, "epochs"):
        compared = key["student"] and key["kind"] != "scratch"
        base = _scratch(frame, key) if compared else None
        rows.append(key | _row(cell, measures, vs_scratch=base))
    shown = [column for column in measures if "val_" not in column]
    columns = f"{' '.join(cell_of)} error {' '.join(shown)}"
    caption = "Final values: eval mode, centre view. Best: lowest validation error. KL times T^2."
    return _table("losses", "Losses", caption, rows, columns)


TABLES = {
    "teacher_size": teacher_size,
    "mimicry": mimicry,
    "eskd": eskd,
    "temperature": temperature,
    "checkpoints": checkpoints,
    "early_stopped": early_stopped,
    "generations": generations,
    "chains": chains,
    "improved_teacher": improved_teacher,
    "staged": staged,
    "ensembles": ensembles,
    "losses": losses,
}

# --- Selections of a frame ----------------------------------------------------------------------


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame in a fixed order, with every column that is read and no empty labels as nan.

    Networks are ordered by multiply-adds, stops as full, schedule, checkpoint. Further members of
    a seed are left out: they stand in ensembles only. Where blocks disagree about a cell (one has
    a fixed teacher, one a teacher for each seed) their teachers read `label [block]`.
    """
    extra = [column for column in frame if column not in (*LABELS, *NUMBERS)]
    frame = frame.reindex(columns=[*LABELS, *NUMBERS, *extra])
    labels = frame[list(LABELS)].astype(object)
    frame[list(LABELS)] = labels.where(labels.notna(), "").astype(str)
    for column in NUMBERS:
        frame[column] = pd.to_numeric(frame[column])
    frame["generation"] = frame.generation.fillna(1).where(frame.kind == "student", 0)
    frame = frame[(frame.kind == "ensemble") | (frame.member.fillna(0) == 0)].copy()
    by_run = frame[frame.kind != "ensemble"].sort_values("student", ascending=False)
    by_run = by_run.drop_duplicates("run").set_index("run")  # a row with a student comes first
    network = by_run.student.where(by_run.student != "", by_run.teacher)
    unknown = frame.teacher_network == ""
    looked_up = frame.teacher_run.where(frame.teacher_run != "").map(network).fillna("")
    frame["teacher_network"] = frame.teacher_network.mask(unknown, looked_up)
    frame["teacher_label"] = frame.teacher
    cell_of = ["student", "teacher", "stop", "via", "generation", "method", "seed"]
    taught = frame[frame.kind == "student"]
    several = taught.groupby(cell_of).run.transform("nunique") > 1
    apart = (frame.kind == "student") & frame.block.isin(taught.block[several])
    frame["teacher"] = frame.teacher.mask(apart, frame.teacher + " [" + frame.block + "]")
    frame["student_rank"] = frame.groupby("student").multiply_adds.transform("min")
    frame["teacher_rank"] = frame.groupby("teacher").teacher_multiply_adds.transform("min")
    frame["stop_rank"] = frame.stop_kind.map({"full": 0, "schedule": 1, "checkpoint": 2})
    order = ("student_rank", "student", "teacher_rank", "teacher", "stop_rank", "stop_epochs")
    last = ("via", "generation", "method", "ensemble", "kind", "block", "seed")
    return frame.sort_values([*order, *last], kind="stable", ignore_index=True)


def where(frame: pd.DataFrame, **values) -> pd.DataFrame:
    """The rows with these values; a list means any of them, nan equals nan."""
    keep = pd.Series(True, index=frame.index)
    for column, value in values.items():
        if isinstance(value, list):
            keep &= frame[column].isin(value)
        else:
            keep &= frame[column].isna() if pd.isna(value) else frame[column] == value
    return frame[keep]


def direct(frame: pd.DataFrame) -> pd.DataFrame:
    """The students taught by their teacher at once: no network between, first generation."""
    return frame[(frame.kind == "student") & (frame.via == "") & (frame.generation <= 1)]


def by_seed(cell: pd.DataFrame, column: str = "test_error") -> pd.Series:
    """The values of one cell by seed; runs that are not done have none.

    A run that stands in several blocks counts once. Two runs of one seed cannot be of one cell:
    ValueError names them.
    """
    return _done(cell).set_index("seed")[column].dropna().sort_index()


def _done(cell: pd.DataFrame) -> pd.DataFrame:
    done = cell[cell.status == "done"].drop_duplicates("run")
    if done.seed.duplicated().any():
        twice = done[done.seed.duplicated(keep=False)].run
        raise ValueError(f"one cell, one seed, but several runs: {', '.join(twice)}")
    return done


def _cells(rows: pd.DataFrame, *keys: str) -> Iterator[tuple[dict, pd.DataFrame]]:
    """The groups of rows that agree in the keys, in the order of the rows."""
    for values, cell in rows.groupby(list(keys), sort=False, dropna=False):
        yield dict(zip(keys, values, strict=True)), cell


def _scratch(frame: pd.DataFrame, key: dict) -> pd.Series:
    return by_seed(where(frame, kind="scratch", student=key["student"]))


def _of_teacher(cell: pd.DataFrame) -> pd.Series:
    """Test errors of the teachers by seed; one teacher of several seeds counts once."""
    teachers = cell[cell.teacher_test_error.notna()].drop_duplicates("teacher_run")
    return teachers.drop_duplicates("seed").set_index("seed").teacher_test_error


# --- The statistics of a row --------------------------------------------------------------------


def _row(cell: pd.DataFrame, measures: Sequence[str] = (), **against: pd.Series | None) -> dict:
    """All numbers of one cell: sizes, error, other measures, and differences of the error.

    measures: columns of the frame; against: a name for each difference and the errors by seed of
    its partner (None: there can be no partner).
    """
    done = _done(cell)
    row = cell[list(PRICES)].max().to_dict()
    row |= _estimate("teacher_error", _of_teacher(cell))
    row |= _errors(by_seed(cell), **against)
    for column in measures:
        row |= _estimate(column, done[column])
    return row | {"notes": _notes(cell)}


def _choice(lengths: dict[str, pd.DataFrame], **against: pd.Series) -> dict:
    """The row of an early-stopped teacher at the length that the other seeds' validation chose."""
    validation = pd.DataFrame({stop: by_seed(c, "val_error") for stop, c in lengths.items()})
    test = pd.DataFrame({stop: by_seed(c) for stop, c in lengths.items()})
    chosen, errors = choose(validation, test)
    counts = Counter(chosen[seed] for seed in chosen.index)
    notes = "; ".join(f"{stop} for {counts[stop]} seeds" for stop in lengths if stop in counts)
    return _errors(errors, **against) | {
        "notes": notes or "nothing to choose by: fewer than two seeds with validation errors"
    }


def _errors(errors: pd.Series, **against: pd.Series | None) -> dict:
    row = {"n": len(errors), **_estimate("error", errors), "error_median": summary(errors).median}
    for name, partner in against.items():
        if partner is not None:
            row |= _difference(name, errors, partner)
    return row


def _estimate(name: str, values: pd.Series) -> dict:
    s = summary(values)
    return {name: s.mean, f"{name}_sd": s.sd, f"{name}_low": s.low, f"{name}_high": s.high}


def _difference(name: str, values: pd.Series, partner: pd.Series) -> dict:
    s = paired(values, partner)
    row = {name: s.mean, f"{name}_sd": s.sd, f"{name}_low": s.low, f"{name}_high": s.high}
    return row | {f"{name}_n": s.n, f"{name}_mark": mark(s)}


def _notes(cell: pd.DataFrame) -> str:
    """What is missing and why, and whether the seeds share one teacher."""
    if cell.empty:
        return "not in this study"
    runs = cell.drop_duplicates("run")
    done = (runs.status == "done") & runs.test_error.notna()
    missing = runs[~done]
    states = missing.status.replace({"done": "without a test error", "": "missing"})
    notes = [f"{count} {state}" for state, count in states.value_counts(sort=False).items()]
    reasons = [reason for reason in dict.fromkeys(missing.reason) if reason]
    if reasons and not done.any():
        notes.append(reasons[0])
    teachers = set(cell.teacher_run) - {""}
    if len(teachers) == 1 and done.sum() > 1:
        notes.append("one teacher for all seeds")
    return "; ".join(notes)


def _path(key: dict) -> dict:
    networks = [key["teacher"], *key["via"].split(STEP), key["student"]]
    return {"path": STEP.join(name for name in networks if name), **key}


# --- From numbers to text -----------------------------------------------------------------------


def _table(name: str, title: str, caption: str, rows: list[dict], columns: str) -> Table:
    """columns: those of the data that are shown; n follows the error, the notes come last."""
    shown = [*columns.replace(" error ", " n error ").split(), "notes"]
    text = [{HEADINGS.get(c, c.replace("_", " ")): _text(row, c) for c in shown} for row in rows]
    return Table(name, title, caption, pd.DataFrame(rows), pd.DataFrame(text))


def _text(row: dict, column: str) -> str:
    """One field: `7.61 ± 0.12`, a difference with its sign and mark, a plain number, or text."""
    value = row.get(column)
    if value is None or value == "" or pd.isna(value):
        return "-"
    if isinstance(value, str):
        return value
    if column in PRICES:
        return _short(value)
    if f"{column}_low" not in row:
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    half = (row[f"{column}_high"] - row[f"{column}_low"]) / 2
    if f"{column}_mark" not in row:
        return _rounded(value, half)
    pairs = row[f"{column}_n"]
    only = "" if pairs == row["n"] else f" ({pairs} pairs)"
    return f"{_rounded(value, half, sign='+')}, {row[f'{column}_mark']}{only}"


def _rounded(value: float, half: float, sign: str = "") -> str:
    """A mean to two significant digits of the half-width of its interval."""
    if math.isnan(half):
        return f"{value:{sign}.3g}"
    if half == 0:
        return f"{value:{sign}.4g} ± 0"
    half = float(f"{half:.1e}")  # first, or 0.0996 would become 0.100
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{value:{sign}.{decimals}f} ± {half:.{decimals}f}"


def _short(number: float) -> str:
    """173738 as 173.7 k."""
    power = min(6, int(math.log10(number) // 3)) if number >= 1 else 0
    return f"{number / 1000**power:.4g} {' kMGTPE'[power]}".strip()
