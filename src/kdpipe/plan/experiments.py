"""Blocks and ensembles of a study, laid out as cells and rows.

Both may teach: a block that is named as a teacher is its last network, and an ensemble may be
the generations of a block. So each is laid out when it is first asked for, and found again after.
"""

from collections.abc import Iterator

from kdpipe import identity
from kdpipe.networks.family import Cost
from kdpipe.plan.items import Averaged, Cell, EnsembleRow, Plan, Run, Teacher
from kdpipe.plan.runs import Runs
from kdpipe.specs import made
from kdpipe.study import stops
from kdpipe.study.blocks import Block, Ensemble


class Experiments:
    """Lays blocks and ensembles of one split out in the plan; their runs are planned on the way."""

    def __init__(self, plan: Plan, runs: Runs):
        self.plan = plan
        self.study = plan.study
        self.runs = runs
        self.blocks = {block.name: block for block in plan.study.experiments}
        self._ends: dict[tuple[str, int], Run] = {}  # of blocks that teach, by seed
        self._rows: dict[tuple[str, int], list[EnsembleRow]] = {}

    def add_block(self, block: Block) -> None:
        """The cells of a block, and the scratch runs that they are compared with."""
        for seed in block.seeds or self.study.due_seeds:
            for student in block.students:
                for network in [*(block.via or []), student]:
                    self._scratch(network, seed)
                for cells in self._paths(block, student, seed):
                    self.plan.cells.extend(cells)
                    if block.scratch_long:
                        self._scratch_long(cells[-1])
                for cell in self._direct(block, student, seed):
                    self.plan.cells.append(cell)
                    if block.scratch_long:
                        self._scratch_long(cell)

    def add_ensemble(self, label: str) -> None:
        """The rows of an ensemble, for every seed for which it is scored."""
        for seed in self._seeds(self.study.ensembles[label]):
            self.plan.ensemble_rows.extend(self._ensembles(label, seed))

    # --- blocks

    def _scratch(self, network: str, seed: int) -> None:
        run = self.runs.on_labels(network, seed)
        self.plan.give_role(run, "scratch")
        self.plan.scratch.setdefault((network, seed, run.split), run)

    def _scratch_long(self, cell: Cell) -> None:
        """The rivals of a student for its price with its teacher, and for that of its path."""
        for as_long_as in (self.runs.as_long_as, self.runs.as_long_as_path):
            long = as_long_as(cell.run, cell.seed)
            self.plan.give_role(long, "scratch_long")
            self.plan.scratch_long.append((cell.block, long, cell))

    def _paths(self, block: Block, student: str, seed: int) -> Iterator[list[Cell]]:
        """The cells of each teacher and method of a block, from the first step to the last."""
        for teacher in self._teachers(block, student, _teacher_seed(block, seed)):
            for method in block.methods:
                yield self._path(block, teacher, student, method, seed)

    def _path(
        self, block: Block, head: Teacher, student: str, method: str | list[str], seed: int
    ) -> list[Cell]:
        """One cell for each step from the head down to the student's last generation."""
        via = block.via or []
        path = [*via, *[student] * block.generations]
        labels = [method] * len(path) if isinstance(method, str) else method
        teacher, cells = head, []
        for step, (network, label) in enumerate(zip(path, labels, strict=True)):
            run = self.runs.taught(network, seed, teacher, label)
            self.plan.give_role(run, "student")
            staged = labels[: step + 1]
            cells.append(
                Cell(
                    block=block.name,
                    teacher=head,
                    via=tuple(via[:step]),
                    student=network,
                    method=label if len(set(staged)) == 1 else " > ".join(staged),
                    generation=max(1, step - len(via) + 1),
                    step=step + 1,
                    last=step + 1 == len(path),
                    run=run,
                    seed=seed,
                )
            )
            teacher = Teacher.of(network, run)
        return cells

    def _direct(self, block: Block, student: str, seed: int) -> Iterator[Cell]:
        """What a chain is compared with: large -> small and mid -> small, each in one step."""
        if not block.via:
            return
        teacher_seed = _teacher_seed(block, seed)
        heads = list(self._teachers(block, student, teacher_seed))
        for network in block.via:
            run = self.runs.on_labels(network, teacher_seed)
            self.plan.give_role(run, "teacher")
            heads.append(Teacher.of(network, run))
        single = block.model_copy(update={"via": None, "generations": 1})
        last_methods = [m if isinstance(m, str) else m[-1] for m in block.methods]
        for head in heads:
            for method in dict.fromkeys(last_methods):
                yield from self._path(single, head, student, method, seed)

    # --- teachers

    def _teachers(self, block: Block, student: str, seed: int) -> Iterator[Teacher]:
        for label in block.teachers:
            if label in self.study.ensembles:
                yield from self._ensemble_teachers(label, seed)
            elif label in self.blocks:
                run = self._last_of(self.blocks[label], seed)
                for stop in stops.expand(block.stops, run.epochs):
                    self.plan.keep_checkpoint(run, stop.epochs)
                    yield Teacher.of(label, run, stop)
            elif label in self.study.pretrained:
                run = self.runs.pretrained(label)
                self.plan.give_role(run, "teacher")
                yield Teacher.of(label, run)
            else:
                network = student if label == "self" else label
                for stop in stops.expand(block.stops, self.runs.recipe(network).epochs):
                    run = self.runs.on_labels(network, seed, stop)
                    self.plan.give_role(run, "teacher")
                    self.plan.keep_checkpoint(run, stop.epochs)
                    yield Teacher.of(network, run, stop)

    def _ensemble_teachers(self, label: str, seed: int) -> Iterator[Teacher]:
        average_at = self.study.ensembles[label].average_at
        for row in self._ensembles(label, seed):
            averaged = row.ensemble
            stop = stops.Stop("full", max(epoch for _, epoch in averaged.members))
            yield Teacher(label, stop, averaged.members, average_at, averaged)

    def _last_of(self, block: Block, seed: int) -> Run:
        """The one network that a block ends in, when the block is named as a teacher."""
        if (block.name, seed) not in self._ends:
            (cells,) = self._paths(block, block.students[0], seed)
            self._ends[block.name, seed] = cells[-1].run
        return self._ends[block.name, seed]

    # --- ensembles

    def _seeds(self, ensemble: Ensemble) -> list[int]:
        """The seeds for which an ensemble is scored: its block's, or the study's."""
        block = self.blocks[ensemble.block] if ensemble.block else None
        return block.seeds if block and block.seeds else self.study.due_seeds

    def _ensembles(self, label: str, seed: int) -> list[EnsembleRow]:
        """One ensemble, or one for each path of a block."""
        if (label, seed) not in self._rows:
            ensemble = self.study.ensembles[label]
            self._rows[label, seed] = (
                list(self._of_generations(label, self.blocks[ensemble.block], seed))
                if ensemble.block is not None
                else [self._of_networks(label, ensemble, seed)]
            )
        return self._rows[label, seed]

    def _of_generations(self, label: str, block: Block, seed: int) -> Iterator[EnsembleRow]:
        for student in block.students:
            for cells in self._paths(block, student, seed):
                members = [(c.run, c.run.epochs) for c in cells if c.student == student]
                averaged = self._averaged(members, seed)
                of = f"{block.name}: {student}"
                yield EnsembleRow(label, of, averaged, cells[-1].teacher, cells[-1].method)

    def _of_networks(self, label: str, ensemble: Ensemble, seed: int) -> EnsembleRow:
        names = ensemble.networks or []
        brought = [name for name in names if name in self.study.pretrained]
        points = [
            (network, stop)
            for network in names
            if network not in brought
            for stop in stops.expand(ensemble.stops, self.runs.recipe(network).epochs)
        ]
        copies = ensemble.copies or 1
        if ensemble.operations_of is not None:
            first = self._seeds(self.study.ensembles[ensemble.operations_of])[0]
            paid = self._ensembles(ensemble.operations_of, first)[0].ensemble
            price = sum(self.runs.cost(network).multiply_adds for network, _ in points)
            copies = max(1, paid.cost.multiply_adds // price)
        members = []
        for name in brought:
            run = self.runs.pretrained(name)
            self.plan.give_role(run, "member")
            members.append((run, run.epochs))
        for network, stop in points:
            for member in range(copies):
                run = self.runs.on_labels(network, seed, stop, member)
                self.plan.give_role(run, "member")
                self.plan.keep_checkpoint(run, stop.epochs)
                members.append((run, stop.epochs))
        return EnsembleRow(label, " + ".join(names), self._averaged(members, seed))

    def _averaged(self, members: list[tuple[Run, int]], seed: int) -> Averaged:
        spec = made.ensemble_spec([(run.digest, epoch) for run, epoch in members], seed)
        digest = identity.digest(spec)
        averaged = Averaged(
            name=made.ensemble_name(spec, digest),
            digest=digest,
            spec=spec,
            members=tuple(members),
            cost=Cost(
                sum(run.cost.parameters for run, _ in members),
                sum(run.cost.multiply_adds for run, _ in members),
            ),
        )
        return self.plan.ensembles.setdefault(averaged.name, averaged)


def _teacher_seed(block: Block, seed: int) -> int:
    """The seed of the teacher from which the student of a seed learns."""
    return seed if block.teacher_seed == "paired" else block.teacher_seed
