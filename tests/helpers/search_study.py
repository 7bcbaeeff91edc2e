"""A small study with a search, whose records are made as each round asks for them."""

from helpers.synthetic_study import STUDY, write
from kdpipe.analysis.search import rounds
from kdpipe.config import load

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
    "search": {"blocks": ["grid"], "fresh_seeds": 3, "rule": 2},  # two fifths go on
}


def study_of(**changes):
    return load.validate_study({**KEYS, **changes}, "sought")


def to_the_end(study, store, most=20, holes=None):
    """Make the records of each round as it is due; the plans of all rounds, and how it ended."""
    plans = []
    for _ in range(most):
        plans.append(rounds.plan_due_runs(study, store))
        write(plans[-1], store, holes)
        if rounds.get_search_state(study, store).current_round is None:
            return plans, rounds.get_search_state(study, store)
    raise AssertionError("it does not end")
