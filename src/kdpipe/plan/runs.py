"""Runs and tables of a plan, each planned once however often the study asks for it.

A run is found again by the digest of its spec; what is asked for thousands of times, networks on
labels and tables, is found before a spec is made and hashed.
"""

from pathlib import Path

from kdpipe import identity
from kdpipe.learning import method as methods
from kdpipe.learning import mixing
from kdpipe.learning.keys import MethodKeys
from kdpipe.learning.own import card as term_card
from kdpipe.learning.own.card import TermCard
from kdpipe.learning.recipe import Recipe
from kdpipe.networks.brought import cards, start
from kdpipe.networks.catalogue import Catalogue
from kdpipe.networks.family import Cost
from kdpipe.plan.items import Lesson, Plan, Run, Table, Teacher
from kdpipe.plan.prices import LONGEST, Lineage, ancestors, times_as_long
from kdpipe.specs import made
from kdpipe.study.stops import Stop

# Forward and backward cost three forwards; the usual count.
FORWARDS_PER_STEP = 3

PRECISIONS = {"float16": 2, "float32": 4}  # of a table: bytes of a logit

# How many students of a teacher checkpoint are taken to share its table where a study leaves the
# choice to us. Fixed: one more must rename nothing. A lone student then pays twice the forwards of
# a live teacher at most; of three, a live teacher costs one and a half times a table's at most.
SHARING = 2


def pays(epochs: int, views: int) -> bool:
    """Whether a run of so many epochs learns from a table of its teacher's outputs.

    A table costs a forward for each view of each image, a live teacher one for each epoch. All
    epochs count, also after KD was stopped: methods of one teacher are compared, and share what it
    says. 0 views are views without end.
    """
    return 0 < views < SHARING * epochs


class Runs:
    """Plans the runs of one split into `plan.runs`, and their tables into `plan.tables`."""

    def __init__(self, plan: Plan, networks: Catalogue, split: int = 0):
        self.plan = plan
        self.study = plan.study
        self.networks = networks
        self.data = made.data_spec(plan.study.data, plan.card, split)
        self.unlabelled = made.unlabelled_spec(plan.study.data, plan.card, plan.unlabelled)
        self.train_size: int = self.data["train_size"]
        self.views = made.view_count(self.data["views"])
        self._by_digest: dict[str, Run] = {}
        self._on_labels: dict[tuple, Run] = {}
        self._tables: dict[tuple, Table] = {}
        self._recipes: dict[str, Recipe] = {}
        self._costs: dict[str, Cost] = {}
        self._lineages: dict[tuple[str, int], Lineage] = {}
        self._term_cards: dict[str, TermCard] = {}
        self._asked: dict[tuple[str, str], tuple[Recipe, dict, str]] = {}

    def on_labels(self, network: str, seed: int, stop: Stop | None = None, member: int = 0) -> Run:
        """A network trained on labels alone; a checkpoint is cut out of the full training."""
        key = (network, seed, stop, member)
        if key in self._on_labels:
            return self._on_labels[key]
        recipe = self.recipe(network)
        if stop is not None and stop.kind == "schedule":
            recipe = stop.recipe(recipe)
        run = self._planned(network, recipe, seed, member=member)
        return self._on_labels.setdefault(key, run)

    def taught(self, network: str, seed: int, teacher: Teacher, method: str) -> Run:
        """A student of a teacher, by a method of the study."""
        if (network, method) not in self._asked:
            self._asked[network, method] = self._ask(network, self.study.methods[method])
        recipe, asked, outputs = self._asked[network, method]
        return self._planned(network, recipe, seed, Lesson(teacher, asked, outputs))

    def _ask(self, network: str, method: MethodKeys) -> tuple[Recipe, dict, str]:
        """What a method makes of a network's recipe, what it asks, and of which outputs."""
        recipe = self.recipe(network)
        if method.label_smoothing is not None:
            recipe = recipe.model_copy(update={"label_smoothing": method.label_smoothing})
        asked = methods.spec(method, recipe.epochs, self._term_card(method))
        asked |= self.unlabelled if method.unlabelled else {}
        wish = self.study.teacher_outputs
        if wish == "auto":
            wish = "table" if pays(recipe.epochs, self.views) else "live"
        if mixing.asked(recipe.model_dump()):
            wish = "live"
        return recipe, asked, methods.outputs(asked, wish)

    def _term_card(self, method: MethodKeys) -> TermCard | None:
        """The card of a method's term of one's own."""
        if method.term is None:
            return None
        if method.term not in self._term_cards:
            folder = Path(self.study.code or "")
            self._term_cards[method.term] = term_card.find(folder, method.term, "methods", "STUDY")
        return self._term_cards[method.term]

    def as_long_as(self, student: Run, seed: int) -> Run:
        """A student on labels for as many operations as it and its teacher's answers took.

        The teacher's own training is not counted: it is there already when one distils.
        """
        own = self._own(student)
        return self._longer(student, seed, times_as_long(own, student.multiply_adds - own))

    def as_long_as_path(self, student: Run, seed: int) -> Run:
        """A student on labels for as many operations as all took that it learned from, and itself.

        At most `prices.LONGEST` times its epochs: beside a large teacher it would be absurdly long.
        """
        own = self._own(student)
        beside = student.multiply_adds - own + ancestors(student, self._lineages)
        return self._longer(student, seed, times_as_long(own, beside, LONGEST))

    def _own(self, student: Run) -> int:
        """Multiply-adds of its epochs on labels alone."""
        return FORWARDS_PER_STEP * student.cost.multiply_adds * self.train_size * student.epochs

    def _longer(self, student: Run, seed: int, factor: float) -> Run:
        recipe = self.recipe(student.network)
        longer = recipe.model_copy(
            update={
                "epochs": round(recipe.epochs * factor),
                "drop_epochs": [round(epoch * factor) for epoch in recipe.drop_epochs],
            }
        )
        return self._planned(student.network, longer, seed)

    def pretrained(self, label: str) -> Run:
        """A run of no epochs, one for all seeds: its weights are brought, and examined.

        What it is fed with, where that is not what the students are, is known by its label.
        """
        source = self.study.pretrained[label]
        recipe = self.recipe(source.network).model_copy(update={"epochs": 0, "drop_epochs": []})
        brought = {"weights": source.weights, "sha256": start.checksum(source)}
        network = label if label in self.networks.fed else source.network
        run = self._planned(network, recipe, 0, pretrained=brought)
        if (path := cards.file(source)) is not None:
            self.plan.weights[run.name] = path
        return run

    def recipe(self, network: str) -> Recipe:
        """How every run of a network is trained."""
        if network not in self._recipes:
            self._recipes[network] = self.study.recipe_of(network)
        return self._recipes[network]

    def cost(self, network: str) -> Cost:
        """Of classifying one image."""
        if network not in self._costs:
            self._costs[network] = self.networks.cost(network)
        return self._costs[network]

    def _planned(
        self,
        network: str,
        recipe: Recipe,
        seed: int,
        lesson: Lesson | None = None,
        *,
        member: int = 0,
        pretrained: dict | None = None,
    ) -> Run:
        """The run of the spec that these make: the known one, or a new one."""
        spec = made.run_spec(
            self.data,
            self.networks.spec(network),
            recipe,
            seed=seed,
            stage=lesson.stage(network) if lesson else 0,
            member=member,
            teacher=_teacher_spec(lesson) if lesson else None,
            method=lesson.method if lesson else None,
            pretrained=pretrained,
        )
        digest = identity.digest(spec)
        if (known := self._by_digest.get(digest)) is not None:
            return known
        cost = self.cost(network)
        members = lesson.teacher.members if lesson else ()
        more = made.unlabelled_shown(spec)
        trained = self.train_size * recipe.epochs + more  # images, over all epochs
        asked = self.train_size * spec["method"]["kd_epochs"] + more if lesson else 0
        run = Run(
            name=made.run_name(spec, digest),
            digest=digest,
            spec=spec,
            parents=tuple(dict.fromkeys(run for run, _ in members)),
            cost=cost,
            train_multiply_adds=FORWARDS_PER_STEP * cost.multiply_adds * trained,
            teacher_multiply_adds=lesson.teacher.multiply_adds * asked if lesson else 0,
            tables=self._asked_through(lesson) if lesson else (),
        )
        self._by_digest[digest] = self.plan.runs[run.name] = run
        begun = self.study.starts.get(network)
        if begun is not None and (path := cards.file(begun)) is not None:
            self.plan.weights[run.name] = path
        return run

    def _asked_through(self, lesson: Lesson) -> tuple[Table, ...]:
        """The tables through which a lesson's teacher is asked; none if it is live."""
        if lesson.outputs == "live":
            return ()
        members, more = lesson.teacher.members, made.unlabelled_of(lesson.method)
        return tuple(
            self._table(run, epoch, lesson.outputs, of)
            for of in ([{}, more] if more else [{}])
            for run, epoch in members
        )

    def _table(self, run: Run, epoch: int, precision: str, unlabelled: dict) -> Table:
        """Of the training images, or of those without labels."""
        key = (run.digest, epoch, precision, bool(unlabelled))
        if key in self._tables:
            return self._tables[key]
        spec = made.table_spec(run.spec, run.digest, epoch, precision, unlabelled)
        name = made.table_name(spec, identity.digest(spec))
        entries = made.tabled(spec) * self.views
        bytes_each = PRECISIONS[precision] * self.plan.card.classes
        table = Table(name, spec, run, entries * run.cost.multiply_adds, entries * bytes_each)
        self.plan.tables[name] = self._tables[key] = table
        return table


def _teacher_spec(lesson: Lesson) -> dict:
    teacher = lesson.teacher
    members = [(run.digest, run.network, epoch) for run, epoch in teacher.members]
    return made.teacher_spec(members, teacher.average_at, lesson.outputs)
