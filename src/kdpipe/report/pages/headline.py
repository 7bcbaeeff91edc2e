"""The decision for one student, in one sentence: what to ship, with both errors.

The choice among the taught is made on validation; whether it is worth doing is said by its
difference to labels alone, made with the tested seed left out. What is not shown to be better is
not shipped: it costs a teacher.
"""

from kdpipe.evidence.advice.answer import Answer, Gain
from kdpipe.evidence.selections import UNTRAINED
from kdpipe.report.text import rounded


def headline(answer: Answer) -> str:
    """One sentence, and a second one where an ensemble of equal size is better."""
    if not answer.chosen:
        return f"No answer for {answer.student}: {answer.reason}."
    team = next((gain for gain in answer.gains if gain.kind == "equal size"), None)
    better = ""
    if team and team.mark == "worse":
        better = (
            f" An ensemble of {team.copies} scratch runs (as many networks as distilling trained) "
            f"is better than the distilled by {_size(team)} points, at {team.copies} times the "
            "operations."
        )
    return _decision(answer) + better


def _decision(answer: Answer) -> str:
    taught, alone = _error(answer.test), _error(answer.scratch)
    way, name, gain = f"taught {how(answer)}", answer.student, answer.gain
    if gain is None:
        return f"{name} {way}: {taught} error. There is no result from scratch to compare with."
    if not answer.ships:
        return f"Too few seeds to decide for {name}: from scratch {alone}, {way} {taught} error."
    best, unseen = "", ""
    if answer.options > 1:  # the best of several owes part of its lead to luck
        best = f", the best of {answer.options} ways on validation"
        unseen = "chosen without the tested seed "
    said = f"{unseen}the difference is {_size(gain, sign='+')} points: {gain.mark}."
    if answer.ships == "student":
        return f"Ship {name} {way}{best}: {taught} error. From scratch {alone}; {said}"
    comma = "," if best else ""
    return f"Ship {name} from scratch: {alone} error. T{way[1:]}{best}{comma} {taught}; {said}"


def how(answer: Answer) -> str:
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


def _error(found) -> str:
    return f"{rounded(found.mean, found.half_width)} %" if found and found.n else "no"


def _size(gain: Gain, sign: str = "") -> str:
    d = gain.difference
    return rounded(d.mean if sign else abs(d.mean), d.half_width, sign)
