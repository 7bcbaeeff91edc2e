"""The headline of an answer: what to do for one student, as far as the numbers carry it.

The choice is the best option on validation; whether it is worth doing is said by its difference
to labels alone, made with the tested seed left out. Distilling is recommended only where it is
better.
"""

from kdpipe.evidence.answer import Answer, Gain
from kdpipe.evidence.selections import UNTRAINED
from kdpipe.report.text import rounded


def headline(answer: Answer) -> str:
    """One sentence, and a second one where an ensemble of equal size is better."""
    if not answer.chosen:
        return f"No answer for {answer.student}: {answer.reason}."
    team = _gain(answer, "equal size")
    better = ""
    if team and team.mark == "worse":
        better = (
            f" An ensemble of {team.copies} scratch runs (as many networks as distilling trained) "
            f"is better than the distilled by {_size(team)}, at {team.copies} times the operations."
        )
    return _verdict(answer, _gain(answer, "scratch")) + better


def _verdict(answer: Answer, gain: Gain | None) -> str:
    best = f"{answer.student} {_how(answer)}"
    if gain is None:
        return f"The best of the distilled: {best}. Labels alone have no result to compare with."
    if gain.mark == "better":
        return f"Teach {best}: better than labels alone by {_size(gain)}."
    if gain.mark == "worse":
        return (
            f"Do not distil {answer.student}: labels alone are better by {_size(gain)}. "
            f"The best of the distilled is taught {_how(answer)}."
        )
    if gain.mark == "too few seeds":
        return f"The best of the distilled: {best}. Too few seeds to compare it with labels alone."
    return f"The best of the distilled: {best}. It cannot be told from labels alone."


def _how(answer: Answer) -> str:
    """The chosen option: `by wrn16-2 stopped at checkpoint 13 with kd`."""
    chosen = answer.chosen
    stop = "" if chosen["stop"] == "full" else f" stopped at {chosen['stop']}"
    if chosen["stop"] == UNTRAINED:
        stop = ", untrained,"
    if chosen["stop"].startswith("schedule"):
        stop = f" stopped early by {chosen['stop']}"
    via = f" through {chosen['via']}" if chosen["via"] else ""
    often = f", generation {chosen['generation']:g}" if chosen["generation"] > 1 else ""
    teacher = "itself" if chosen["teacher"] == answer.student else chosen["teacher"]
    return f"by {teacher}{stop}{via} with {chosen['method']}{often}"


def _gain(answer: Answer, kind: str) -> Gain | None:
    return next((gain for gain in answer.gains if gain.kind == kind), None)


def _size(gain: Gain) -> str:
    d = gain.difference
    return f"{rounded(abs(d.mean), d.half_width)} points"
