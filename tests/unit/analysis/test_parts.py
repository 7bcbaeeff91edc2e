"""A study of which a part is missing, or nothing but a part is there: no claim breaks."""

import pytest
from helpers.synthetic_study import made_plan, write

from kdpipe.analysis import claim, dataframe, eval_point
from kdpipe.analysis.claim import Finding, UntestableClaim
from kdpipe.runs.store import Store


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    plan, store = made_plan(), Store(tmp_path_factory.mktemp("parts") / "results")
    write(plan, store)
    known = dataframe.build_results_frame(plan, store)
    return (
        plan.study,
        eval_point.select_eval_point(known, plan.study.reading),
        dataframe.build_curves_frame(plan, store),
    )


@pytest.mark.slow
@pytest.mark.parametrize("column", ["kind", "stop_kind", "method_kind"])
def test_claims_read_a_part_alone_and_all_but_a_part(study, column):
    result, frame, curves = study
    for part in frame[column].dropna().unique():
        for some in (frame[frame[column] == part], frame[frame[column] != part]):
            for one in claim.load_claims().values():
                actual = claim.evaluate_claim(one, some, curves, result.smallest_effect)
                assert isinstance(actual, Finding | UntestableClaim)


def test_without_a_fully_trained_teacher_claims_on_one_are_not_tested(study):
    result, frame, curves = study
    stopped = frame[frame.stop_kind != "full"]
    actual = {v.id: v for v in claim.judge_claims(stopped, curves, result.smallest_effect)}
    for key in ("C2", "C15"):
        assert actual[key].verdict == "not tested"
        assert "taught by a fully trained teacher" in actual[key].reason
