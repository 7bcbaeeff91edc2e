"""What a search has found: its rounds, what was seen in them, and who won."""

import math
from dataclasses import dataclass, field

from kdpipe.plan.items import Plan
from kdpipe.search.budget import Price
from kdpipe.search.candidates import Candidate, Option
from kdpipe.search.narrowing import Asked

LATENCY, TEACHERS, STUDENTS = "latency", "teachers", "students"
RECALLED, FRESH = "students set aside", "fresh seeds"


@dataclass(frozen=True)
class Round:
    """One round; `kept` and what follows are empty until all its runs have ended."""

    number: int
    what: str
    seeds: tuple[int, ...]
    asked: tuple[Option, ...]  # trained in it; of teachers, who waits for them
    runs: frozenset[str]
    decided: bool = False
    known: dict[str, float] = field(default_factory=dict)  # NLL of stops, mean errors of options
    kept: tuple[Option, ...] = ()
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        seeds = "seed" if len(self.seeds) == 1 else "seeds"
        return f"{self.what}, {seeds} {', '.join(map(str, self.seeds))}"


def speed(milliseconds: float) -> str:
    """How fast a student is, in words. milliseconds: for an image; inf of one that diverged."""
    if not math.isfinite(milliseconds):
        return "its scratch run diverged, so nothing says how fast it is"
    return f"an image takes {milliseconds:.3g} ms"


@dataclass
class Searched:
    """How far a search has come. Errors are on validation, in points."""

    plan: Plan  # the whole one
    competing: dict[str, list[Candidate]]
    rounds: list[Round] = field(default_factory=list)
    asked: Asked = field(default_factory=Asked)
    errors: dict[Option, dict[int, float]] = field(default_factory=dict)  # by seed, as seen
    nll: dict[tuple[str, str], float] = field(default_factory=dict)  # by stop, at the first seed
    correlations: dict[str, float] = field(default_factory=dict)  # by student
    winners: dict[str, Option] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)  # students: ms for an image, see `speed`
    hours: float = 0.0  # that the runs of ended rounds took, each counted apart
    price: Price | None = None  # hours of a job, by what those runs took
    unpaid: set[Option] = field(default_factory=set)  # the budget pays for no seed of them

    def mean(self, option: Option) -> float:
        """Over the seeds that an option was seen with; inf of none, or where it diverged."""
        seen = self.errors.get(option, {})
        return math.fsum(seen.values()) / len(seen) if seen else math.inf

    def field(self, one: Round) -> list[Option]:
        """Who competes in a round: those of the round before, and who is trained in it."""
        before = self.rounds[one.number - 2].kept if one.number > 1 else ()
        return list(dict.fromkeys([*before, *one.asked]))

    def dropped(self, option: Option) -> Round | None:
        """The round in which an option was dropped for good; None if it was not."""
        there = [one for one in self.rounds if option in one.kept or option in self.field(one)]
        last = there[-1] if there else None
        return last if last and last.decided and option not in last.kept else None

    @property
    def due(self) -> Round | None:
        """The round whose runs are not all done; None when the search has ended."""
        return None if self.rounds[-1].decided else self.rounds[-1]
