"""Claims of the paper and of later ones, and what a study says about them.

Each file of `claims/` defines one `Claim`; its docstring is the formula. Which effects a claim
compares, and when it counts as supported, was fixed before any study was run: there, in
`contrasts`, and in docs/statistics.md. The unit of analysis is the seed, effects are signed so that
positive is as claimed, and a choice never uses the seed it is tested on.

A claim asks one of three questions (`Claim.question`). Of a *difference* two statements are made.
Its direction: the study supports it (above 0) or contradicts it (below 0), by tests. Its size: it
is worth having (beyond the smallest effect), less than worth having (within it), or neither can be
said, by an interval; a difference whose direction is not told and whose size is less than worth
having is no worthwhile difference. The other two questions, *not better* and *same*, have regions
of their own that do not overlap (see `contrasts`) and no size.

All seeds share their images, so a verdict needs the interval over seeds and images too (see
`contrasts`); where single images are not known a claim says "over seeds only" and is not tested.

A claim that needs several contrasts is an intersection-union test: the p that supports it is the
largest of theirs, the p that contradicts it their smallest times their number. Holm's correction
runs once over both directions of all tested primary claims and, separately, once over both
directions of the others. Claims that the registration of a study does not list are explored: they
are a third family, so that a claim that is added to the code moves no p of a registered one. Sizes
are read from intervals that hold jointly for all tested claims of a family (Bonferroni), so a false
size stands in a family in at most 5 % of studies, apart from the 5 % of the directions. That one
thing is not better than another, or the same, counts only where the study would have seen a
difference: the effect that it detects with power 0.8 at the level of the family's first step, 0.05
/ (2 x claims), has to be below the smallest effect.
"""

import dataclasses
import itertools
import math
import string
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from kdpipe import registry
from kdpipe.analysis import eval_point
from kdpipe.analysis.contrasts import TEST_DESCRIPTIONS, Contrast
from kdpipe.analysis.dataframe import (
    add_error_provenance,
    get_metric,
    normalize_frame,
    restrict_to_blocks,
)
from kdpipe.config import paths
from kdpipe.config.schema import SmallestEffects, Study
from kdpipe.runs.decision_metric import DecisionMetric
from kdpipe.runs.records import EvalPoint, other_eval_point
from kdpipe.stats.error_provenance import ErrorMaskLookup, estimate_image_level
from kdpipe.stats.group_sequential import SINGLE_ANALYSIS, InterimAnalysis
from kdpipe.stats.intervals import MIN_SEEDS
from kdpipe.stats.multiple_testing import adjust_holm
from kdpipe.stats.power import LEVEL, POWER

# The verdicts, and what is said of the size of a difference beside them.
VERDICTS = ("supports", "contradicts", "no worthwhile difference", "cannot tell", "not tested")
WORTH_HAVING, LESS, NO_SIZE = "worth having", "less than worth having", "none"
DEFAULT_EFFECTS = SmallestEffects()
# Of claims whose p-values are corrected together. Explored are those that no registration lists.
FAMILIES = ("primary", "rest", "explored")
# What a claim may ask, and the hypotheses of the contrasts that it needs.
QUESTIONS = {
    "difference": ("above",),
    "not better": ("not better",),
    "not better and same": ("not better", "same"),
}


class UntestableClaim(Exception):
    """Raised where a study cannot test a claim; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What a claim finds in a study.

    Attributes
    ----------
    contrasts : list of Contrast
        The effects, needed ones and others.
    description : str
        How they were made.
    missing : list of str
        Cells that lack results.
    one_teacher : bool
        Whether all seeds of a cell share one teacher.
    undecided : str
        What a study lacks for a test, where its runs could have decided the claim all the same but
        did not: it is not tested then.
    """

    contrasts: list[Contrast]
    description: str
    missing: list[str] = field(default_factory=list)
    one_teacher: bool = False
    undecided: str = ""

    @property
    def supporting_contrasts(self) -> list[Contrast]:
        """Return the needed contrasts that can tell that it is as claimed."""
        return [contrast for contrast in self.needed_contrasts if contrast.tells != "contrary"]

    @property
    def opposing_contrasts(self) -> list[Contrast]:
        """Return the needed contrasts that can tell the contrary."""
        return [contrast for contrast in self.needed_contrasts if contrast.tells != "support"]

    @property
    def needed_contrasts(self) -> list[Contrast]:
        """Return the contrasts that have to hold for the claim."""
        return [contrast for contrast in self.contrasts if contrast.is_needed]

    @property
    def n_seeds(self) -> int:
        """Return the seeds (or splits, if fewer) of the needed contrast that has the fewest."""
        return min((contrast.summary.min_levels for contrast in self.needed_contrasts), default=0)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The data of a study that claims are tested on.

    It is never changed, so that what several claims select of it is selected once.

    Attributes
    ----------
    frame : DataFrame
        The normalized results frame, with error provenance.
    curves : DataFrame
        The learning curves.
    delta : float
        The smallest difference worth having, in points.
    smallest : SmallestEffects
        Those of what is not the error of a network.
    error_masks : callable or None
        Which test images each run gets wrong at the evaluation point; None where no images are
        known.
    teacher_masks : callable or None
        The same of teachers as they taught, at their last epoch whatever the study reads.
    """

    frame: pd.DataFrame
    curves: pd.DataFrame
    delta: float
    smallest: SmallestEffects = DEFAULT_EFFECTS
    error_masks: ErrorMaskLookup | None = None
    teacher_masks: ErrorMaskLookup | None = None


@dataclass(frozen=True)
class Claim:
    """The definition of a claim in a file of `claims/`.

    Attributes
    ----------
    title : str
        The claim in a sentence.
    function : callable
        Makes a `Finding` of the `Evidence`; raises `UntestableClaim` where a study cannot test it.
    question : {"difference", "not better", "not better and same"}
        What it asks of the contrasts that it needs, see `QUESTIONS`.
    primary : bool
        Whether it is corrected with the primary claims.
    order : int
        The order of claims of one number (C11s, C11c); else they stand by their numbers.
    """

    title: str
    function: Callable[[Evidence], Finding]
    question: str = "difference"
    primary: bool = False
    order: int = 0


@dataclass(frozen=True)
class OtherEvalPointVerdict:
    """The verdict on a claim at the other evaluation point; `words` compares the two."""

    reading: str
    verdict: str
    effect: float
    low: float
    high: float
    n: int
    p_corrected: float
    differs: bool
    words: str
    size: str = ""

    @property
    def words_alone(self) -> str:
        """Return this verdict with the size of the difference, if that is told beside it."""
        return _join_size(self.verdict, self.size)


def _join_size(verdict: str, size: str) -> str:
    """Return a verdict with a size, if that says something beside it."""
    is_told = verdict in ("supports", "contradicts") and size in (WORTH_HAVING, LESS)
    return f"{verdict}, {size}" if is_told else verdict


@dataclass(frozen=True)
class SizeInterval:
    """The interval that the size of a claim's difference is read from, and what it says.

    Of a claim that needs several contrasts it covers all of them, each in its own interval. Numbers
    are in the unit of the claim; where its contrasts have different ones, in smallest effects.

    Attributes
    ----------
    low, high : float
        The interval.
    level : float
        Its confidence level: it holds jointly with those of the other tested claims of the family.
    delta : float
        The smallest difference worth having.
    unit : str
        The unit.
    worth_below : float
        With a smallest effect below this the difference would be worth having; 0 with none.
    less_above : float
        With a smallest effect above this it would be less than worth having.
    """

    low: float
    high: float
    level: float
    delta: float
    unit: str
    worth_below: float
    less_above: float


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim in one study, as claims.json lists it.

    Effect, interval and p are those of the needed contrast that decides: for `contradicts` the one
    that speaks against the claim most, else the weakest one.

    Attributes
    ----------
    id, title : str
        The claim.
    primary : bool
        Whether it was corrected with the primary claims.
    explored : bool
        Whether the registration of the study does not list it, so that it was corrected in a family
        of its own, whether or not it is named as primary.
    verdict : str
        What the study says, one of `VERDICTS`.
    size : {"worth having", "less than worth having", "none", ""}
        How large the difference is; empty where the claim asks for none, or was not tested.
    size_interval : SizeInterval or None
        What the size was read from.
    reason : str
        How the contrasts were made, or why the claim was not tested.
    effect, low, high : float
        The effect, and the t interval over seeds.
    level : float
        The confidence level of the intervals.
    unit : str
        The unit of the effect.
    n : int
        The number of seeds.
    p, p_corrected : float
        The p-value of the test that supports the claim, the larger one of two.
    p_against, p_against_corrected : float
        The p-value of the test that contradicts it.
    contrary : str
        The needed contrast that contradicts it.
    tests : int
        The number of tests in its family, both directions counted.
    test : str
        The test that decides.
    half_width : float
        Half of the width of the wider interval.
    seeds_needed : int or None
        Seeds that would decide, see `Contrast.solve_seeds_to_support`.
    detectable : float
        The effect that the study would have seen, where that is too large to call one small.
    missing : list of str
        Cells that lack results.
    one_teacher : bool
        Whether all seeds of a cell share one teacher.
    images : dict or None
        The second interval, over seeds and images.
    contrasts : list of dict
        All contrasts, needed ones and others.
    reading : {"last", "best"}
        The evaluation point.
    beside : OtherEvalPointVerdict or None
        The verdict at the other evaluation point.
    registered : Verdict or None
        The verdict by the rules that the study was registered under, where they are not those of
        this code. The verdict itself is then an explored one.
    """

    id: str
    title: str
    primary: bool
    verdict: str
    reason: str
    size: str = ""
    size_interval: SizeInterval | None = None
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    unit: str = "points"
    n: int = 0
    p: float = math.nan
    p_corrected: float = math.nan
    p_against: float = math.nan
    p_against_corrected: float = math.nan
    contrary: str = ""
    tests: int = 0
    test: str = ""
    half_width: float = math.nan
    seeds_needed: int | None = None
    detectable: float = math.nan
    missing: list[str] = field(default_factory=list)
    one_teacher: bool = False
    images: dict | None = None
    contrasts: list[dict] = field(default_factory=list)
    reading: str = "last"
    beside: OtherEvalPointVerdict | None = None
    registered: "Verdict | None" = None
    explored: bool = False

    @property
    def words(self) -> str:
        """Return the verdict with the size of the difference, if that is told beside it."""
        return _join_size(self.verdict, self.size)

    @property
    def shown(self) -> "Verdict":
        """Return the verdict that a report shows first: the registered one, if there is one."""
        return self.registered or self

    @property
    def differs_from_registered(self) -> bool:
        """Return whether the registered rules gave another verdict (they had no sizes)."""
        return self.registered is not None and self.registered.verdict != self.verdict


# What claims.json has of a registered verdict; all of it is in the file that it was read from.
REGISTERED_FIELDS = (
    *("primary", "verdict", "effect", "low", "high", "level", "unit", "n", "p", "p_corrected"),
    *("p_against", "p_against_corrected", "contrary", "tests", "test"),
)


def load_claims() -> dict[str, Claim]:
    """Load every claim, by its id, in the order of a report."""
    files = registry.load_all_objects("kdpipe.analysis.claims", "CLAIM", Claim)
    claims_by_id = {key: files[file] for key, file in paths.list_claims().items()}
    ids_by_number = itertools.groupby(
        claims_by_id, key=lambda key: key.rstrip(string.ascii_lowercase)
    )
    keys = [
        key
        for _, ids in ids_by_number
        for key in sorted(ids, key=lambda key: claims_by_id[key].order)
    ]
    return {key: claims_by_id[key] for key in keys}


def get_current_interim(study: Study) -> InterimAnalysis:
    """Return the interim analysis that a study is at."""
    if study.looks is None:
        return SINGLE_ANALYSIS
    return InterimAnalysis(tuple(study.looks), study.look)


def judge_both_eval_points(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    eval_at: EvalPoint,
    reads: dict[str, list[str]] | None = None,
    error_masks: Mapping[EvalPoint, ErrorMaskLookup] | None = None,
    primary: Collection[str] | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    smallest: SmallestEffects | None = None,
    listed: Collection[str] | None = None,
) -> list[Verdict]:
    """Judge every claim at the evaluation point of a study, and compare with the other point.

    Parameters
    ----------
    frame : DataFrame
        The results frame of both evaluation points.
    curves, delta, reads, primary, smallest, listed
        As in `judge_claims`.
    eval_at : {"last", "best"}
        The evaluation point of the study.
    error_masks : mapping or None
        By evaluation point, which images each run gets wrong.
    interim : InterimAnalysis
        The interim analysis that the study is at; p-values become those of all of them together.
    """
    masks_by_point = error_masks or {}
    verdicts, other_verdicts = (
        judge_claims(
            eval_point.select_eval_point(frame, point),
            curves,
            delta,
            reads,
            masks_by_point.get(point),
            primary,
            interim,
            smallest,
            listed,
            masks_by_point.get("last"),
        )
        for point in (eval_at, other_eval_point(eval_at))
    )
    metric = get_metric(frame)
    verdict_pairs = zip(verdicts, other_verdicts, strict=True)
    return [
        replace(
            verdict,
            reading=eval_at,
            beside=_compare_eval_points(verdict, other_verdict, eval_at, metric),
        )
        for verdict, other_verdict in verdict_pairs
    ]


def judge_claims(
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    reads: dict[str, list[str]] | None = None,
    error_masks: ErrorMaskLookup | None = None,
    primary: Collection[str] | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    smallest: SmallestEffects | None = None,
    listed: Collection[str] | None = None,
    teacher_masks: ErrorMaskLookup | None = None,
    claims: Collection[str] | None = None,
) -> list[Verdict]:
    """Judge every claim on a results frame.

    Parameters
    ----------
    frame : DataFrame
        The results frame at one evaluation point.
    curves : DataFrame
        The learning curves.
    delta : float
        The smallest difference worth having, in points.
    reads : dict or None
        By claim, the blocks and ensembles that it reads; a claim without an entry reads all.
    error_masks : callable or None
        Which images each run gets wrong and what else is known of single images, for the second
        interval of each contrast; where it knows none a claim gets no verdict. None: the intervals
        over seeds alone decide.
    primary : collection of str or None
        The primary claims, where they are not those of the code.
    interim : InterimAnalysis
        The interim analysis that the study is at; p-values become those of all of them together.
    smallest : SmallestEffects or None
        The smallest differences worth having of what is not the error of a network.
    listed : collection of str or None
        The claims that the registration of the study lists; None without a registration.
    teacher_masks : callable or None
        Which test images teachers get wrong as they taught; by default those of `error_masks`.
    claims : collection of str or None
        The claims to judge, where these are not all: the others count in no family.
    """
    smallest = smallest or DEFAULT_EFFECTS
    masks = (error_masks, teacher_masks or error_masks)
    full_evidence = Evidence(_prepare_frame(frame), curves, delta, smallest, *masks)
    findings = {}
    for key, claim in load_claims().items():
        if claims is not None and key not in claims:
            continue
        evidence = full_evidence
        if reads and key in reads:
            rows = _prepare_frame(restrict_to_blocks(frame, reads[key]))
            evidence = Evidence(rows, curves, delta, smallest, *masks)
        finding = _run_claim(claim, evidence)
        findings[key] = (claim.title, claim.primary, _add_image_estimates(finding, error_masks))
    return judge_findings(findings, primary, interim, listed)


def evaluate_claim(
    claim: Claim,
    frame: pd.DataFrame,
    curves: pd.DataFrame,
    delta: float,
    error_masks: ErrorMaskLookup | None = None,
    smallest: SmallestEffects | None = None,
    has_second_interval: bool = True,
) -> Finding | UntestableClaim:
    """Return what one claim finds in a results frame, or why it cannot be tested there.

    Parameters
    ----------
    claim : Claim
        The claim.
    frame, curves, delta, error_masks, smallest
        As in `judge_claims`; the masks are those of teachers too.
    has_second_interval : bool
        Whether intervals over images are made of the masks, and not only what a claim counts.
    """
    smallest = smallest or DEFAULT_EFFECTS
    evidence = Evidence(_prepare_frame(frame), curves, delta, smallest, error_masks, error_masks)
    finding = _run_claim(claim, evidence)
    if not has_second_interval:
        return finding
    return _add_image_estimates(finding, error_masks)


def verdicts_to_json(verdicts: list[Verdict]) -> list[dict]:
    """Return verdicts as claims.json lists them, with null for NaN."""
    rows = []
    for verdict in verdicts:
        row = dataclasses.asdict(verdict)
        if verdict.registered is not None:
            row["registered"] = {key: row["registered"][key] for key in REGISTERED_FIELDS}
        if not verdict.explored:  # entries of registered claims stay as they are
            del row["explored"]
        rows.append(_to_plain_json(row))
    return rows


def attach_registered(verdicts: list[Verdict], claims: list[dict]) -> list[Verdict]:
    """Return verdicts with those by the rules that the study was registered under.

    Parameters
    ----------
    verdicts : list of Verdict
        The verdicts by the current rules.
    claims : list of dict
        The registered ones, as claims.json lists them; a claim that is not among them has none.
    """
    registered = {row["id"]: _verdict_from_json(row) for row in claims}
    return [replace(verdict, registered=registered.get(verdict.id)) for verdict in verdicts]


def _verdict_from_json(row: dict) -> Verdict:
    """Return a verdict as claims.json lists it, with NaN for null."""
    numbers = {spec.name for spec in dataclasses.fields(Verdict) if isinstance(spec.default, float)}
    known = {spec.name for spec in dataclasses.fields(Verdict)} - {"registered"}
    values = _fill_missing_numbers({key: row[key] for key in row if key in known}, numbers)
    values["contrasts"] = [
        _fill_missing_numbers(part, ("effect", "sd", "low", "high", "p"))
        for part in values.get("contrasts", [])
    ]
    if values.get("beside"):
        numbers = ("effect", "low", "high", "p_corrected")
        fields = {spec.name for spec in dataclasses.fields(OtherEvalPointVerdict)}
        beside = {key: value for key, value in values["beside"].items() if key in fields}
        values["beside"] = OtherEvalPointVerdict(**_fill_missing_numbers(beside, numbers))
    return Verdict(**values)


def _fill_missing_numbers(row: dict, numbers: Collection[str]) -> dict:
    """Return a row of JSON with NaN for numbers that are null."""
    return {
        key: math.nan if value is None and key in numbers else value for key, value in row.items()
    }


def _prepare_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a results frame as claims read it."""
    return add_error_provenance(normalize_frame(frame))


def _run_claim(claim: Claim, evidence: Evidence) -> Finding | UntestableClaim:
    """Return the finding of a claim, or why it cannot be tested."""
    try:
        return claim.function(evidence)
    except UntestableClaim as reason:
        return reason


def _add_image_estimates(
    finding: Finding | UntestableClaim, error_masks: ErrorMaskLookup | None
) -> Finding | UntestableClaim:
    """Add the estimate over seeds and images to each contrast that has none of its own."""
    if isinstance(finding, UntestableClaim) or error_masks is None:
        return finding
    contrasts = []
    for contrast in finding.contrasts:
        if contrast.image_estimate is not None:
            contrasts.append(contrast)
            continue
        values = contrast.values if contrast.linear is None else contrast.linear
        contrasts.append(
            replace(
                contrast,
                image_estimate=estimate_image_level(values, error_masks, contrast.halves),
            )
        )
    return replace(finding, contrasts=contrasts)


def _compare_eval_points(
    verdict: Verdict, other_verdict: Verdict, eval_at: EvalPoint, metric: DecisionMetric
) -> OtherEvalPointVerdict:
    """Return the verdict at the other evaluation point, compared with that of the study.

    A best epoch that top-1 chose is no other reading of a study of another metric: a verdict that
    differs there is shown, and is no conflict.
    """
    is_comparable = metric == "top1" or eval_at == "best"
    differs = is_comparable and verdict.verdict != other_verdict.verdict
    eval_text, other_text = (
        eval_point.name_eval_point(point, eval_at, metric)
        for point in (eval_at, other_eval_point(eval_at))
    )
    message = f"at {other_text}: {other_verdict.words}"
    if differs:
        message = (
            f"the evaluation points differ: {verdict.words} at {eval_text}, "
            f"{other_verdict.words} at {other_text}"
        )
    numbers = (
        other_verdict.effect,
        other_verdict.low,
        other_verdict.high,
        other_verdict.n,
        other_verdict.p_corrected,
    )
    return OtherEvalPointVerdict(
        other_eval_point(eval_at),
        other_verdict.verdict,
        *numbers,
        differs,
        message,
        other_verdict.size,
    )


def _to_plain_json(value) -> Any:
    """Return a value with None for what JSON cannot express."""
    if isinstance(value, dict):
        return {key: _to_plain_json(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_to_plain_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- From findings to verdicts


def judge_findings(
    findings: dict[str, tuple[str, bool, Finding | UntestableClaim]],
    primary: Collection[str] | None = None,
    interim: InterimAnalysis = SINGLE_ANALYSIS,
    listed: Collection[str] | None = None,
) -> list[Verdict]:
    """Judge the findings of several claims together.

    Parameters
    ----------
    findings : dict
        By claim its title, whether it is primary in the code, and its finding.
    primary : collection of str or None
        The primary claims, where they are not those of the code.
    interim : InterimAnalysis
        The interim analysis that the study is at; p-values become those of all of them together.
    listed : collection of str or None
        The claims that the registration of the study lists; None without a registration.

    Returns
    -------
    list of Verdict
        One for each claim, in the order of the findings.
    """
    primary_ids = {key for key, (_, of_code, _) in findings.items() if of_code}
    families = {
        key: find_family(key, primary_ids if primary is None else primary, listed)
        for key in findings
    }
    verdicts = {}
    for family in FAMILIES:
        members = {key: parts for key, parts in findings.items() if families[key] == family}
        tested = [
            key for key, (*_, result) in members.items() if _explain_untestable(result) is None
        ]
        # The level of one test at this interim analysis.
        rate = interim.compute_level(LEVEL / (2 * max(1, len(tested))))
        drafts = {
            key: replace(
                _draft_verdict(key, title, family == "primary", result),
                explored=family == "explored",
            )
            for key, (title, _, result) in members.items()
        }
        p = [drafts[key].p for key in tested] + [drafts[key].p_against for key in tested]
        corrected = adjust_holm([interim.adjust_p(p_value) for p_value in p])
        supports, contradicts = corrected[: len(tested)], corrected[len(tested) :]
        for key, p_for, against in zip(tested, supports, contradicts, strict=True):
            finding = members[key][2]
            assert isinstance(finding, Finding)
            drafts[key] = _settle_verdict(drafts[key], finding, p_for, against, rate, len(p))
        verdicts |= drafts
    return [verdicts[key] for key in findings]


def find_family(claim: str, primary: Collection[str], listed: Collection[str] | None = None) -> str:
    """Return the family that a claim is corrected with, one of `FAMILIES`.

    Parameters
    ----------
    claim : str
        The id of the claim.
    primary : collection of str
        The primary claims of the study.
    listed : collection of str or None
        The claims that its registration lists; None without a registration.
    """
    if listed is not None and claim not in listed:
        return "explored"
    return "primary" if claim in primary else "rest"


def _explain_untestable(finding: Finding | UntestableClaim) -> str | None:
    """Return why a finding cannot be tested, or None."""
    if isinstance(finding, UntestableClaim):
        return str(finding)
    if finding.n_seeds >= MIN_SEEDS:
        return _explain_no_images(finding) or _explain_no_spread(finding)
    cell_text = ""
    if len(finding.needed_contrasts) > 1:
        fewest = min(finding.needed_contrasts, key=lambda contrast: contrast.summary.min_levels)
        cell_text = f" ({fewest.text})"
    return f"{MIN_SEEDS} seeds with every cell are needed, {finding.n_seeds} are there{cell_text}"


def _explain_no_images(finding: Finding) -> str | None:
    """Return which needed contrast has no interval over images where images were asked for.

    Seeds share their images, so an interval over seeds alone would decide falsely too often.
    """
    for contrast in finding.needed_contrasts:
        estimate = contrast.image_estimate
        if estimate is not None and estimate.estimate is None:
            which = f" ({contrast.text})" if len(finding.needed_contrasts) > 1 else ""
            return f"over seeds only: {estimate.why}{which}"
    return None


def _explain_no_spread(finding: Finding) -> str | None:
    """Return which needed contrast has a standard error of 0, of which no test says anything."""
    for contrast in finding.needed_contrasts:
        if any(not crossed.has_spread for crossed in contrast.estimates):
            which = f" ({contrast.text})" if len(finding.needed_contrasts) > 1 else ""
            return f"the standard error is 0, every seed has the same effect{which}"
    return None


def _draft_verdict(
    key: str, title: str, primary: bool, finding: Finding | UntestableClaim
) -> Verdict:
    """Make the verdict on a claim before the correction."""
    if isinstance(finding, UntestableClaim):
        return Verdict(key, title, primary, "not tested", str(finding))
    common = {
        "missing": finding.missing,
        "one_teacher": finding.one_teacher,
        "contrasts": [contrast.to_dict() for contrast in finding.contrasts],
    }
    reason = _explain_untestable(finding)
    if reason is not None:
        return Verdict(
            key, title, primary, "not tested", f"{reason}. {finding.description}", **common
        )
    needed = finding.needed_contrasts
    supporting, opposing = finding.supporting_contrasts, finding.opposing_contrasts
    against = [len(opposing) * contrast.p_against for contrast in opposing]
    decisive = max(supporting or needed, key=lambda needed_contrast: needed_contrast.p_for)
    test = TEST_DESCRIPTIONS[decisive.hypothesis].format(delta=decisive.delta or 0)
    if len(needed) > 1:
        test += f"; the weakest of {len(needed)} that must all hold"
    verdict = Verdict(key, title, primary, "cannot tell", finding.description, test=test, **common)
    return replace(
        verdict,
        p=decisive.p_for if supporting else 1.0,
        p_against=min([1.0, *against]),
        **_extract_contrast_fields(decisive),
    )


def _settle_verdict(
    verdict: Verdict,
    finding: Finding,
    p_for: float,
    against: float,
    rate: float,
    tests: int,
) -> Verdict:
    """Complete the verdict on a tested claim from its corrected p-values."""
    needed = finding.needed_contrasts
    verdict = replace(verdict, p_corrected=p_for, p_against_corrected=against, tests=tests)
    undetectable = [
        contrast.compute_detectable(rate) for contrast in needed if contrast.is_underpowered(rate)
    ]
    sizes = _measure_sizes(finding, rate)
    if sizes is not None:
        verdict = replace(verdict, size=NO_SIZE, size_interval=sizes.interval)
    if sizes is not None and sizes.is_within:
        verdict = replace(verdict, size=LESS)
    if p_for < LEVEL and not undetectable:
        is_beyond = sizes is not None and sizes.is_above
        return replace(
            verdict, verdict="supports", size=WORTH_HAVING if is_beyond else verdict.size
        )
    if against < LEVEL:
        contrary = min(finding.opposing_contrasts, key=lambda contrast: contrast.p_against)
        is_beyond = sizes is not None and sizes.is_below
        fields = {
            "verdict": "contradicts",
            "contrary": contrary.text,
            "size": WORTH_HAVING if is_beyond else verdict.size,
        }
        return replace(verdict, **fields, **_extract_contrast_fields(contrary))
    if verdict.size == LESS:
        return replace(verdict, verdict="no worthwhile difference")
    if finding.undecided:
        reason = f"{finding.undecided}. {finding.description}"
        return replace(verdict, verdict="not tested", reason=reason)
    return replace(
        verdict,
        seeds_needed=_estimate_seeds_needed(needed, rate),
        detectable=max(undetectable, default=math.nan) if p_for < LEVEL else math.nan,
    )


@dataclass(frozen=True)
class _Sizes:
    """What the intervals of a claim's contrasts say of its size.

    `is_above`: all of them are above the smallest effect; `is_within`: all are within it;
    `is_below`: one of them is below minus the smallest effect.
    """

    interval: SizeInterval
    is_above: bool
    is_within: bool
    is_below: bool


def _measure_sizes(finding: Finding, rate: float) -> _Sizes | None:
    """Read the sizes of a claim from the intervals of the contrasts that it needs.

    That all are beyond the smallest effect, or all within it, needs no correction for their number
    (intersection-union): one of them is not, and its own interval would have to be wrong. That one
    is below minus the smallest effect, no matter which, is read at the rate over their number.

    Parameters
    ----------
    finding : Finding
        The finding, whose contrasts each bound the effect on the sides that they tell.
    rate : float
        The one-sided error rate of one bound, that of one test of the family.

    Returns
    -------
    _Sizes or None
        None if the claim asks for no size, a contrast has no smallest effect, or a side no bound.
    """
    needed = finding.needed_contrasts
    supporting, opposing = finding.supporting_contrasts, finding.opposing_contrasts
    if not supporting or not opposing:
        return None
    scales = [contrast.delta for contrast in needed if contrast.delta]
    if len(scales) < len(needed) or any(contrast.hypothesis != "above" for contrast in needed):
        return None
    # In smallest effects, in which several units are comparable.
    low = min(_scale_bounds(contrast, rate)[0] for contrast in supporting)
    high = max(_scale_bounds(contrast, rate)[1] for contrast in opposing)
    lowest = min(_scale_bounds(contrast, rate / len(opposing))[1] for contrast in opposing)
    units = {(contrast.unit, contrast.delta) for contrast in needed}
    unit, delta = units.pop() if len(units) == 1 else ("smallest effects", 1.0)
    assert delta is not None
    interval = SizeInterval(
        low * delta,
        high * delta,
        1 - 2 * rate,
        delta,
        unit,
        worth_below=max(0.0, low, -lowest) * delta,
        less_above=max(-low, high) * delta,
    )
    return _Sizes(interval, low > 1, low > -1 and high < 1, lowest < -1)


def _scale_bounds(contrast: Contrast, rate: float) -> tuple[float, float]:
    """Return the bounds of a contrast that has a smallest effect, in smallest effects."""
    low, high = contrast.compute_bounds(rate)
    return low / (contrast.delta or math.nan), high / (contrast.delta or math.nan)


def _extract_contrast_fields(contrast: Contrast) -> dict:
    """Return the fields of a verdict that are those of the contrast that decides."""
    interval = contrast.summary
    return {
        "effect": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "level": contrast.level,
        "unit": contrast.unit,
        "n": interval.n,
        "half_width": contrast.half_width,
        "images": contrast.get_image_interval(),
    }


def _estimate_seeds_needed(needed: list[Contrast], rate: float) -> int | None:
    """Return the seeds that decide a claim with power 0.8, if effects are as measured.

    To support it all k contrasts have to hold, each with power 1 - 0.2 / k at the level of one test
    of the family; to contradict it one is enough, at 1 / k of the level; and the intervals of all
    may come to lie within the smallest effect, of a claim of a difference. The smallest number of
    these ways; None if there is none.
    """
    k = len(needed)
    supported = [contrast.solve_seeds_to_support(1 - (1 - POWER) / k, rate) for contrast in needed]
    opposed = [contrast.solve_seeds_to_oppose(POWER, rate / k) for contrast in needed]
    ways = [n_seeds for n_seeds in opposed if n_seeds is not None]
    if all(contrast.hypothesis == "above" for contrast in needed):
        bounded = [contrast.solve_seeds_to_bound(1 - (1 - POWER) / k, rate) for contrast in needed]
    else:
        bounded = [None]
    for required in (supported, bounded):
        if None not in required:
            ways.append(max(n_seeds for n_seeds in required if n_seeds is not None))
    return max(min(ways), max(contrast.summary.seeds for contrast in needed) + 1) if ways else None
