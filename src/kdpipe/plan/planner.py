"""The plan: every run, ensemble and probe that a study needs, with parents and prices.

A pure function of the study, and the only place that knows which experiments exist. Runs are
found by the digest of their spec, so what two blocks share is planned once; parents always come
before their children. No torch, and no file but a card: prices are computed from names and cards.
"""

from collections.abc import Iterator
from pathlib import Path

from kdpipe import identity
from kdpipe.data import cards
from kdpipe.data.cards import card_of_keys
from kdpipe.learning import method as methods
from kdpipe.learning.method import MethodKeys
from kdpipe.learning.own import card as term_card
from kdpipe.learning.recipe import Recipe
from kdpipe.networks import catalogue, zoo
from kdpipe.networks.family import Cost
from kdpipe.networks.keys import Pretrained
from kdpipe.plan.items import (
    Averaged,
    Cell,
    EnsembleRow,
    Plan,
    Probe,
    ProbeRow,
    Run,
    Table,
    Teacher,
)
from kdpipe.specs.made import (
    data_spec,
    ensemble_name,
    probe_name,
    run_name,
    table_name,
    table_spec,
    view_count,
)
from kdpipe.study import stops
from kdpipe.study.grammar import Block, Ensemble, Study, Transfer
from kdpipe.study.stops import Stop

# Forward and backward cost three forwards; the usual count.
FORWARDS_PER_STEP = 3


def make(study: Study) -> Plan:
    """The plan of a study that `checking` has passed."""
    return _Planner(study).plan


class _Planner:
    def __init__(self, study: Study):
        card = card_of_keys(study.data)
        self.study = study
        self.plan = Plan(study, card)
        self.networks = catalogue.of(study, card.shape, card.classes)
        self.plan.data_sets[card.folder] = study.data
        self.data = data_spec(study.data, card)
        self.train_size = self.data["train_size"]
        self.revision = {key: identity.REVISIONS[key] for key in ("training", "evaluation")}
        self.by_digest: dict[str, Run] = {}
        self.labels: dict[tuple, Run] = {}  # what is asked for again and again: found unhashed
        self.tables: dict[tuple, Table] = {}
        self.recipes: dict[str, Recipe] = {}
        self.costs: dict[str, Cost] = {}
        self.blocks = {block.name: block for block in study.experiments}
        self.ends: dict[tuple[str, int], Run] = {}  # of blocks that teach, by seed
        self.rows: dict[tuple[str, int], list[EnsembleRow]] = {}
        for block in study.experiments:
            self._block(block)
        for name, ensemble in study.ensembles.items():
            for seed in self._seeds(ensemble):
                self.plan.ensemble_rows.extend(self._ensembles(name, seed))
        for network, texts in study.keep_checkpoints.items():
            epochs = self._recipe(network).epochs
            for run in self.plan.runs.values():
                if run.network == network and run.spec["teacher"] is None and run.epochs == epochs:
                    for stop in stops.expand(texts, epochs):
                        self._keep(run, stop.epochs)

        for label, transfer in study.transfers.items():
            self._transfer(label, transfer)

    # --- blocks

    def _block(self, block: Block) -> None:
        for seed in block.seeds or self.study.seeds:
            teacher_seed = seed if block.teacher_seed == "paired" else block.teacher_seed
            for student in block.students:
                for network in [*(block.via or []), student]:
                    self._scratch(network, seed)
                for teacher in self._teachers(block, student, teacher_seed):
                    for method in block.methods:
                        cells = self._path(block, teacher, student, method, seed)
                        self.plan.cells.extend(cells)
                        if block.scratch_long:
                            self._scratch_long(block, cells[-1], seed)
                for cell in self._direct(block, student, seed, teacher_seed):
                    self.plan.cells.append(cell)

    def _path(
        self, block: Block, head: Teacher, student: str, method: str | list[str], seed: int
    ) -> list[Cell]:
        """One cell for each step from the head down to the student's last generation."""
        via = block.via or []
        path = [*via, *[student] * block.generations]
        labels = [method] * len(path) if isinstance(method, str) else method
        teacher, cells = head, []
        for step, (network, label) in enumerate(zip(path, labels, strict=True)):
            run = self._student(network, teacher, self.study.methods[label], seed)
            self._role(run, "student")
            cells.append(
                Cell(
                    block=block.name,
                    teacher=head,
                    via=tuple(via[:step]),
                    student=network,
                    method=label
                    if len(set(labels[: step + 1])) == 1
                    else " > ".join(labels[: step + 1]),
                    generation=max(1, step - len(via) + 1),
                    step=step + 1,
                    last=step + 1 == len(path),
                    run=run,
                    seed=seed,
                )
            )
            teacher = Teacher(network, Stop("full", run.epochs), ((run, run.epochs),))
        return cells

    def _direct(self, block: Block, student: str, seed: int, teacher_seed: int) -> Iterator[Cell]:
        """What a chain is compared with: large -> small and mid -> small, each in one step."""
        if not block.via:
            return
        heads = list(self._teachers(block, student, teacher_seed))
        for network in block.via:
            run = self._labels(network, teacher_seed)
            self._role(run, "teacher")
            heads.append(Teacher(network, Stop("full", run.epochs), ((run, run.epochs),)))
        single = block.model_copy(update={"via": None, "generations": 1})
        last_methods = [m if isinstance(m, str) else m[-1] for m in block.methods]
        for head in heads:
            for method in dict.fromkeys(last_methods):
                yield from self._path(single, head, student, method, seed)

    def _teachers(self, block: Block, student: str, seed: int) -> Iterator[Teacher]:
        for label in block.teachers:
            if label in self.study.ensembles:
                average_at = self.study.ensembles[label].average_at
                for row in self._ensembles(label, seed):
                    averaged = row.ensemble
                    epochs = max(epoch for _, epoch in averaged.members)
                    stop = Stop("full", epochs)
                    yield Teacher(label, stop, averaged.members, average_at, averaged)
            elif label in self.blocks:
                run = self._last_of(self.blocks[label], seed)
                for stop in stops.expand(block.stops, run.epochs):
                    self._keep(run, stop.epochs)
                    yield Teacher(label, stop, ((run, stop.epochs),))
            elif label in self.study.pretrained:
                run = self._pretrained(self.study.pretrained[label])
                self._role(run, "teacher")
                yield Teacher(label, Stop("full", run.epochs), ((run, run.epochs),))
            else:
                network = student if label == "self" else label
                full = self._recipe(network).epochs
                for stop in stops.expand(block.stops, full):
                    run = self._labels(network, seed, stop)
                    self._role(run, "teacher")
                    self._keep(run, stop.epochs)
                    yield Teacher(network, stop, ((run, stop.epochs),))

    def _last_of(self, block: Block, seed: int) -> Run:
        """The one network that a block ends in, when the block is named as a teacher."""
        if (block.name, seed) in self.ends:
            return self.ends[block.name, seed]
        teacher_seed = seed if block.teacher_seed == "paired" else block.teacher_seed
        student = block.students[0]
        (head,) = self._teachers(block, student, teacher_seed)
        (method,) = block.methods
        run = self._path(block, head, student, method, seed)[-1].run
        return self.ends.setdefault((block.name, seed), run)

    # --- ensembles

    def _seeds(self, ensemble: Ensemble) -> list[int]:
        """The seeds for which an ensemble is scored: its block's, or the study's."""
        block = self.blocks[ensemble.block] if ensemble.block else None
        return block.seeds if block and block.seeds else self.study.seeds

    def _ensembles(self, label: str, seed: int) -> list[EnsembleRow]:
        """One ensemble, or one for each path of a block."""
        if (label, seed) not in self.rows:
            self.rows[label, seed] = list(self._make_ensembles(label, seed))
        return self.rows[label, seed]

    def _make_ensembles(self, label: str, seed: int) -> Iterator[EnsembleRow]:
        ensemble = self.study.ensembles[label]
        if ensemble.block is not None:
            block = self.blocks[ensemble.block]
            teacher_seed = seed if block.teacher_seed == "paired" else block.teacher_seed
            for student in block.students:
                for teacher in self._teachers(block, student, teacher_seed):
                    for method in block.methods:
                        cells = self._path(block, teacher, student, method, seed)
                        members = [(c.run, c.run.epochs) for c in cells if c.student == student]
                        averaged = self._averaged(members, seed)
                        of = f"{block.name}: {student}"
                        yield EnsembleRow(label, of, averaged, teacher, cells[-1].method)
            return
        names = ensemble.networks or []
        points = [
            (network, stop)
            for network in names
            for stop in stops.expand(ensemble.stops, self._recipe(network).epochs)
        ]
        copies = ensemble.copies or 1
        if ensemble.operations_of is not None:
            first = self._seeds(self.study.ensembles[ensemble.operations_of])[0]
            paid = self._ensembles(ensemble.operations_of, first)[0].ensemble
            price = sum(self._cost(network).multiply_adds for network, _ in points)
            copies = max(1, paid.cost.multiply_adds // price)
        members = []
        for network, stop in points:
            for member in range(copies):
                run = self._labels(network, seed, stop, member)
                self._role(run, "member")
                self._keep(run, stop.epochs)
                members.append((run, stop.epochs))
        yield EnsembleRow(label, " + ".join(names), self._averaged(members, seed))

    def _averaged(self, members: list[tuple[Run, int]], seed: int) -> Averaged:
        spec = {
            "kind": "ensemble",
            "revision": identity.REVISIONS["ensemble"],
            "evaluation": identity.REVISIONS["evaluation"],
            "members": [{"run": run.digest, "epoch": epoch} for run, epoch in members],
            "seed": seed,
        }
        digest = identity.digest(spec)
        averaged = Averaged(
            name=ensemble_name(spec, digest),
            digest=digest,
            spec=spec,
            members=tuple(members),
            cost=Cost(
                sum(run.cost.parameters for run, _ in members),
                sum(run.cost.multiply_adds for run, _ in members),
            ),
        )
        return self.plan.ensembles.setdefault(averaged.name, averaged)

    # --- probes

    def _transfer(self, label: str, transfer: Transfer) -> None:
        """Probes of the last networks of blocks, of their scratch runs, and of their teachers.

        An ensemble that teaches has no features of its own.
        """
        card = card_of_keys(transfer.data)
        data = data_spec(transfer.data, card)
        self.plan.data_sets.setdefault(card.folder, transfer.data)
        probes: dict[tuple[str, int], Probe] = {}
        for cell in self.plan.cells:
            if cell.block not in transfer.blocks or not cell.last:
                continue
            scratch = self.plan.scratch[cell.student, cell.seed]
            asked = [("scratch", scratch, scratch.epochs), ("student", cell.run, cell.run.epochs)]
            if cell.teacher.ensemble is None:
                asked.append(("teacher", *cell.teacher.members[0]))
            for of, run, epoch in asked:
                if (probe := probes.get((run.name, epoch))) is None:
                    probe = probes[run.name, epoch] = self._probe(run, epoch, data, card)
                self.plan.probe_rows.append(ProbeRow(label, of, cell, probe))

    def _probe(self, run: Run, epoch: int, data: dict, card: cards.Card) -> Probe:
        spec = {
            "kind": "probe",
            "revision": identity.REVISIONS["probe"],
            "data": data,
            "network": run.spec["network"],
            "run": run.digest,
            "epoch": epoch,
            "seed": run.seed,
            "threads": run.spec["recipe"]["threads"],
        }
        digest = identity.digest(spec)
        name = probe_name(spec, digest)
        images = data["train_size"] + data["validation"] + card.test
        made = Probe(name, digest, spec, run, card, images * run.cost.multiply_adds)
        return self.plan.probes.setdefault(name, made)

    # --- runs

    def _scratch(self, network: str, seed: int) -> Run:
        run = self._labels(network, seed)
        self._role(run, "scratch")
        return self.plan.scratch.setdefault((network, seed), run)

    def _scratch_long(self, block: Block, cell: Cell, seed: int) -> None:
        """The student on labels for as many operations as its distillation took.

        The teacher's own training is not counted: it is there already when one distils.
        """
        run = cell.run
        recipe = self._recipe(cell.student)
        factor = 1 + run.teacher_multiply_adds / run.train_multiply_adds
        longer = recipe.model_copy(
            update={
                "epochs": round(recipe.epochs * factor),
                "drop_epochs": [round(epoch * factor) for epoch in recipe.drop_epochs],
            }
        )
        long = self._run(cell.student, longer, seed, 0, None, None, member=0)
        self._role(long, "scratch_long")
        self.plan.scratch_long.append((block.name, long, cell))

    def _pretrained(self, source: Pretrained) -> Run:
        """A run of no epochs, one for all seeds: its weights are brought, and examined."""
        recipe = self._recipe(source.network).model_copy(update={"epochs": 0, "drop_epochs": []})
        facts = zoo.facts(source.network)
        checksum = source.sha256
        if source.weights is not None and facts is not None:
            checksum = facts.weights[source.weights]
        about = {"weights": source.weights, "sha256": checksum}
        run = self._run(source.network, recipe, 0, 0, None, None, member=0, pretrained=about)
        if source.path is not None:
            self.plan.weights[run.name] = source.path
        return run

    def _labels(self, network: str, seed: int, stop: Stop | None = None, member: int = 0) -> Run:
        """A network trained on labels alone; a checkpoint is cut out of the full training."""
        key = (network, seed, stop, member)
        if key in self.labels:
            return self.labels[key]
        recipe = self._recipe(network)
        if stop is not None and stop.kind == "schedule":
            recipe = recipe.model_copy(
                update={"epochs": stop.epochs, "drop_epochs": stop.drop_epochs}
            )
        return self.labels.setdefault(key, self._run(network, recipe, seed, 0, None, None, member))

    def _student(self, network: str, teacher: Teacher, method: MethodKeys, seed: int) -> Run:
        # A direct student starts from the weights of the scratch run (stage 0), which pairs the
        # two; but never on a stream that its own teacher has used.
        first = all(
            run.spec["teacher"] is None and run.network != network for run, _ in teacher.members
        )
        stage = 0 if first else 1 + max(run.spec["stage"] for run, _ in teacher.members)
        return self._run(network, self._recipe(network), seed, stage, teacher, method, member=0)

    def _run(
        self,
        network: str,
        recipe: Recipe,
        seed: int,
        stage: int,
        teacher: Teacher | None,
        method: MethodKeys | None,
        member: int,
        pretrained: dict | None = None,
    ) -> Run:
        asked = methods.spec(method, recipe.epochs, self._card_of(method)) if method else None
        spec = {
            "data": self.data,
            "network": self.networks.spec(network),
            "recipe": recipe.model_dump(),
            "seed": seed,
            "stage": stage,
            "member": member,
            "pretrained": pretrained,
            "teacher": self._teacher_spec(teacher, asked) if teacher and asked else None,
            "method": asked,
            "revision": self.revision,
        }
        if method is not None and method.label_smoothing is not None:
            spec["recipe"]["label_smoothing"] = method.label_smoothing
        digest = identity.digest(spec)
        if (known := self.by_digest.get(digest)) is not None:
            return known
        cost = self._cost(network)
        images = self.train_size
        kd_epochs = spec["method"]["kd_epochs"] if spec["method"] else 0
        run = Run(
            name=run_name(spec, digest),
            digest=digest,
            spec=spec,
            parents=tuple(dict.fromkeys(run for run, _ in teacher.members)) if teacher else (),
            cost=cost,
            train_multiply_adds=FORWARDS_PER_STEP * cost.multiply_adds * images * recipe.epochs,
            teacher_multiply_adds=(teacher.multiply_adds if teacher else 0) * images * kd_epochs,
            tables=self._tables(teacher, spec["teacher"]["outputs"]) if teacher else (),
        )
        self.by_digest[digest] = run
        self.plan.runs[run.name] = run
        return run

    def _card_of(self, method: MethodKeys) -> term_card.TermCard | None:
        """The card of a method's term of one's own."""
        if method.term is None:
            return None
        return term_card.find(Path(self.study.code or ""), method.term, "methods", "STUDY")

    def _teacher_spec(self, teacher: Teacher, asked: dict) -> dict:
        outputs = methods.outputs(asked, self.study.outputs)
        # What the teacher's answer rests on besides its own run.
        behind = ["ensemble"] if len(teacher.members) > 1 else []
        behind += ["table"] if outputs != "live" else []
        return {
            "members": [
                {"run": run.digest, "network": run.network, "epoch": epoch}
                for run, epoch in teacher.members
            ],
            "average_at": teacher.average_at,
            "outputs": outputs,
            "revision": {key: identity.REVISIONS[key] for key in behind},
        }

    def _tables(self, teacher: Teacher, outputs: str) -> tuple[Table, ...]:
        if outputs == "live":
            return ()
        return tuple(self._table(run, epoch, outputs) for run, epoch in teacher.members)

    def _table(self, run: Run, epoch: int, precision: str) -> Table:
        key = (run.digest, epoch, precision)
        if key in self.tables:
            return self.tables[key]
        spec = table_spec(run.spec, run.digest, epoch, precision)
        name = table_name(spec, identity.digest(spec))
        entries = self.train_size * view_count(self.data["views"])
        bytes_each = {"float16": 2, "float32": 4}[precision] * self.plan.card.classes
        made = Table(name, spec, run, entries * run.cost.multiply_adds, entries * bytes_each)
        self.plan.tables[name] = self.tables[key] = made
        return made

    def _keep(self, run: Run, epoch: int) -> None:
        if epoch < run.epochs:
            self.plan.keep.setdefault(run.name, set()).add(epoch)

    def _role(self, run: Run, role: str) -> None:
        self.plan.roles.setdefault(run.name, set()).add(role)

    def _recipe(self, network: str) -> Recipe:
        if network not in self.recipes:
            self.recipes[network] = self.study.recipe_of(network)
        return self.recipes[network]

    def _cost(self, network: str) -> Cost:
        if network not in self.costs:
            self.costs[network] = self.networks.cost(network)
        return self.costs[network]
