"""What of a study is due: everything, or of a search what its decisions so far ask for."""

from kdpipe.plan import planner
from kdpipe.plan.items import Plan
from kdpipe.results.store import Store
from kdpipe.search import narrowing, rounds
from kdpipe.search.searched import Searched
from kdpipe.study.grammar import Study


def look(study: Study, store: Store) -> tuple[Plan, Searched | None]:
    """The plan of what is due, and how far the search has come; None of a study without one.

    Raises StoreError for a damaged archive, KdpipeError for a search that cannot be.
    """
    whole = planner.make(study)
    if study.search is None:
        return whole, None
    searched = rounds.walk(whole, store)
    return narrowing.narrowed(whole, searched.asked), searched


def plan(study: Study, store: Store) -> Plan:
    """The plan of what is due. Raises as `look`."""
    return look(study, store)[0]


def of(study: Study, store: Store) -> Searched | None:
    """How far the search of a study has come. Raises as `look`."""
    return look(study, store)[1] if study.search else None
