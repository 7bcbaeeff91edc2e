"""The decision of a study in the closing lines of `kdpipe run`: what to ship, and where it is.

It takes two lines, of the student that `kdpipe export --best` means: what to do, and the difference
that decided it. The page has the rest.
"""

from pathlib import Path

from kdpipe.analysis import recommendation
from kdpipe.analysis.dataframe import normalize_frame
from kdpipe.analysis.per_image import PerImageMetrics
from kdpipe.analysis.preregistration import registration
from kdpipe.analysis.search import rounds, uncertainty
from kdpipe.analysis.teacher_to_ship import find_teacher_to_ship
from kdpipe.plan.nodes import Plan
from kdpipe.report.builtin_tables import search
from kdpipe.report.format import describe_teacher_to_ship, format_answer
from kdpipe.runs.store import Store
from kdpipe.text import format_count


def describe_outcome(
    plan: Plan,
    store: Store,
    page: Path,
    export: str = "kdpipe export STUDY --best",
    study_file: str = "STUDY",
) -> list[str]:
    """Return the answer, the page, and the weights of each student to ship, as lines.

    Parameters
    ----------
    plan : Plan
        The planned study.
    store : Store
        The results folder with its records.
    page : Path
        The rendered page.
    export : str
        The command that exports what the study chose.
    study_file : str
        The study's file, for other commands.
    """
    if (reason := registration.find_blinding_reason(plan, store)) is not None:
        return [f"sealed: {reason}", f"page: {page}"]
    frame, recommendations = recommendation.recommend_for_plan(plan, store)
    search_state = rounds.get_search_state(plan.study, store)
    if search_state is not None and (headline := search.format_search_headline(search_state)):
        return [headline, f"page: {page}"]
    lines = []
    if recommendations:
        lines += format_answer(recommendation.put_best_first(recommendations)[0])
        if n_more := len(recommendations) - 1:
            has = "has" if n_more == 1 else "have"
            lines.append(f"{format_count(n_more, 'more student')} {has} an answer on the page.")
    elif search_state is not None:  # all were too slow, or diverged
        outcomes = PerImageMetrics(plan, store, plan.study.reading).load_part
        uncertainties = uncertainty.estimate_uncertainties(
            search_state, plan.study.smallest_effect, outcomes
        )
        lines += search.describe_search(search_state, uncertainties)
    teacher = find_teacher_to_ship(frame, recommendations, plan.study.max_latency)
    if teacher is not None:
        lines.append(describe_teacher_to_ship(teacher, study_file))
    lines.append(f"page: {page}")
    weight_paths = recommendation.find_weights(
        normalize_frame(frame), recommendations, store.load_records("runs")
    )
    existing_paths = {
        student: store.root / path
        for student, path in weight_paths.items()
        if (store.root / path).exists()
    }
    for student, path in existing_paths.items():
        lines.append(f"weights{f' of {student}' if len(weight_paths) > 1 else ''}: {path}")
    if existing_paths:
        lines.append(f"files to ship: {export}")
    return lines
