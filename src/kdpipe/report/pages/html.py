"""One self-contained HTML page: the decision, A or B, claims, tables, figures, the study.

It needs no network, no script to be read, and prints. Text comes from the study and the records
and is escaped; only the figures, which kdpipe drew itself, are put in as they are.
"""

import re
from importlib import resources

import jinja2
import yaml
from markupsafe import Markup, escape

from kdpipe import __version__
from kdpipe.evidence.claim import look_of
from kdpipe.report.figure import Drawing
from kdpipe.report.pages import facts
from kdpipe.report.pages.found import Found
from kdpipe.report.pages.headline import headline
from kdpipe.report.table import Sheet, sort_keys
from kdpipe.report.text import effect, few_seeds, place, price, probability, rounded, short, span

LONG = 40  # rows or curves; more are folded
WIDE = 800  # pixels; a wider figure has a row for itself
FIRST = ("search", "options", "students")  # figures of the decision


def html(found: Found, svgs: dict[str, str]) -> str:
    """The page. svgs: the drawings by name."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"],
    )
    environment.filters |= {"short": short, "p": probability, "price": price}
    environment.filters |= {"span": span, "sentence": sentence, "place": place}
    environment.filters |= {"unbroken": unbroken, "breakable": breakable}
    template = environment.from_string(
        resources.files("kdpipe.report").joinpath("templates", "report.html.jinja").read_text()
    )
    study, tested = found.plan.study, [v for v in found.verdicts if v.verdict != "not tested"]
    drawn = [
        (one, Markup(_inline(one, svgs[one.name])), _pixels(one) > WIDE) for one in found.drawings
    ]
    return template.render(
        plan=found.plan,
        version=__version__,
        facts=facts.facts(found),
        lost=facts.lost(found.frame),
        registered=found.registered,
        search=found.search,
        curves=found.curves,
        few_rows=LONG,
        answers=[(answer, headline(answer)) for answer in found.answers],
        weights=found.weights,
        a_or_b=[_sheet(found.a_or_b)] if found.a_or_b else [],
        by_class=[_sheet(found.by_class)] if found.by_class else [],
        of_classes=found.of_classes,
        verdicts=tested,
        untested=[v for v in found.verdicts if v.verdict == "not tested"],
        counts={word: sum(v.verdict == word for v in found.verdicts) for word in MARKS},
        marks=MARKS,
        no_tables="" if study.tables else facts.no_tables(found.plan),
        few=few_seeds,
        failed=found.failed,
        tables=[_sheet(table) for table in found.sheets],
        first=[one for one in drawn if one[0].name in FIRST],
        drawings=[one for one in drawn if one[0].name not in FIRST],
        names={*study.methods, *study.ensembles, *(b.name for b in study.experiments)},
        look=look_of(study).said,
        second=facts.second_interval(found.answers, found.verdicts),
        wrong=facts.how_often_wrong(found),
        unsettled=facts.unsettled,
        effect=effect,
        other_verdict=facts.other_verdict,
        other_answer=facts.other_answer,
        also=facts.also,
        readings=facts.both_readings(study.reading),
        rounded=rounded,
        config=yaml.safe_dump(
            study.model_dump(mode="json", exclude_defaults=True, exclude={"registration"}),
            sort_keys=False,
        ),
    )


MARKS = {"supports": "✓", "contradicts": "✗", "cannot tell": "?", "not tested": "-"}


def unbroken(text: str) -> str:
    """A number stays on one line with its half-width, its unit and its n."""
    return re.sub(r" (?=[±(%]|[+-]\d)|(?<=±) |(?<=\(n) ", "\u00a0", text)


def breakable(text: str) -> Markup:
    """In a wide table: a name may go on in the next line, behind what joins its parts."""
    return Markup(re.sub("([_/(-])(?=[A-Za-z0-9])", r"\1<wbr>", str(escape(text))))


def _sheet(table: Sheet) -> tuple:
    """A table with its headings, its rows, and whether it is long."""
    return (table, *_fields(table), len(table.display) > LONG)


def _fields(table: Sheet) -> tuple[list[str], list[list[tuple[str, float | str]]]]:
    """Headings and fields (text, what it is sorted by); a column of nothing is left out."""
    texts = table.display.astype(str).to_numpy().tolist()
    told = [i for i in range(len(table.display.columns)) if any(row[i] != "-" for row in texts)]
    rows = [
        [(row[i], keys[i]) for i in told] for row, keys in zip(texts, sort_keys(table), strict=True)
    ]
    return [str(table.display.columns[i]) for i in told], rows


def _inline(drawing: Drawing, text: str) -> str:
    """The SVG with a name and a description for those who cannot see it."""
    name = f"figure-{drawing.name}"
    labels = f'role="img" aria-labelledby="{name}-title" aria-describedby="{name}-caption" '
    labels += f'style="min-width: {0.65 * _pixels(drawing):.0f}px" '  # or its text is too small
    return text.replace("<svg ", f"<svg {labels}", 1)


def _pixels(drawing: Drawing) -> float:
    """The width at which a figure's text has the size that it was drawn with."""
    return 96 * drawing.figure.get_figwidth()


def sentence(text: str, names: set[str]) -> str:
    """With a capital letter, unless it begins with a name of the study or of a network."""
    first = text.split(" ", 1)[0].strip(",:;")
    named = first in names or any(letter.isdigit() for letter in first)
    return text if named else text[:1].upper() + text[1:]
