"""A small study with a search, whose records are made as each round asks for them."""

from made_study import STUDY, write

from kdpipe.search import due
from kdpipe.study import checking

KEYS = {
    **{key: STUDY[key] for key in ("data", "recipe", "smallest_effect")},
    "study": "sought",
    "seeds": [0, 1, 2, 3, 4, 5, 6],
    "methods": {"kd": {}, "eskd": {"stop_epoch": 0.3}, "hot": {"temperature": 20.0}},
    "experiments": [
        {
            "name": "grid",
            "teachers": ["wrn10-1", "wrn16-1", "wrn16-2"],
            "stops": ["full", "checkpoint 7", "schedule 2/7"],
            "students": ["wrn10-0.5"],
            "methods": ["kd", "eskd", "hot"],
        }
    ],
    "search": {"blocks": ["grid"], "fresh_seeds": 3},
}


def study_of(**changes):
    return checking.validate({**KEYS, **changes}, "sought")


def to_the_end(study, store, most=20, holes=None):
    """Make the records of each round as it is due; the plans of all rounds, and how it ended."""
    plans = []
    for _ in range(most):
        plans.append(due.plan(study, store))
        write(plans[-1], store, holes)
        if due.of(study, store).due is None:
            return plans, due.of(study, store)
    raise AssertionError("it does not end")
