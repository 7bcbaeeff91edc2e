"""What of a study is due: everything, or of a search what its decisions so far ask for."""

from kdpipe.plan import planner
from kdpipe.plan.items import Plan
from kdpipe.results.store import Store
from kdpipe.search import decisions, narrowing, outlook, rounds
from kdpipe.search.rounds import Searched
from kdpipe.study.grammar import Study


def plan(study: Study, store: Store) -> Plan:
    """The plan of a study, without what a search has not asked for. Raises KdpipeError as `of`."""
    whole = planner.make(study)
    if study.search is None:
        return whole
    return narrowing.narrowed(whole, rounds.walk(whole, store).asked)


def of(study: Study, store: Store) -> Searched | None:
    """How far the search of a study has come; None of a study without one.

    Raises StoreError for a damaged archive, KdpipeError where its budget pays for no student.
    """
    return rounds.walk(planner.make(study), store) if study.search else None


def cost(study: Study, store: Store) -> list[str]:
    """What a search may cost, and which round is due, in words; nothing of a study without one."""
    if study.search is None:
        return []
    whole = planner.make(study)
    return outlook.lines(whole, rounds.walk(whole, store))


def decide(study: Study, store: Store) -> Searched | None:
    """The same, and each decision that the records have come to is kept beside them.

    Raises StoreError where one was made on other records than there are now.
    """
    if study.search is None:
        return None
    whole = planner.make(study)
    found = rounds.walk(whole, store)
    decisions.keep(whole, found, store)
    return found
