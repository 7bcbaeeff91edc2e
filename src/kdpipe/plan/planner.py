"""The planner: every run, ensemble and probe that a study needs, with parents and costs.

It is a pure function of the study, and the only place that knows which experiments exist. Runs are
identified by the digest of their spec, so what two blocks share is planned once; parents always
come before their children. It imports no torch and reads no file but cards: costs are computed from
names and cards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdpipe.config import stops
from kdpipe.config.schema import BlockConfig, EnsembleConfig, Study, TransferConfig
from kdpipe.config.stops import Stop
from kdpipe.data.cards import DatasetCard, load_section_card
from kdpipe.data.data_spec import (
    add_mixtures,
    build_data_spec,
    build_unlabelled_spec,
    count_views,
)
from kdpipe.data.imagefolder import unlabelled_card as unlabelled
from kdpipe.losses import method as methods
from kdpipe.losses.config import MethodConfig
from kdpipe.losses.custom import card as term_card
from kdpipe.losses.custom.card import TermCard
from kdpipe.models import study_models
from kdpipe.models.family import Cost
from kdpipe.models.pretrained import input_transform, weights_info
from kdpipe.models.pretrained.input_transform import DataShape
from kdpipe.models.study_models import StudyModels
from kdpipe.plan.nodes import (
    Cell,
    Ensemble,
    EnsembleRow,
    ExportEval,
    ExportEvalRow,
    LogitCache,
    Plan,
    Probe,
    ProbeRow,
    Run,
    Teacher,
    TeachingSpec,
)
from kdpipe.plan.resources import (
    BYTES_PER_LOGIT,
    FORWARDS_PER_STEP,
    MAX_EPOCHS_MULTIPLIER,
    Lineage,
    compute_epochs_multiplier,
    count_ancestor_macs,
)
from kdpipe.runs import spec
from kdpipe.runs.recipe import Recipe, enabled_mixes
from kdpipe.runs.records import EvalPoint
from kdpipe.runs.spec import DataSpec

# How many students of a teacher checkpoint are assumed to share its logit cache if a study leaves
# the choice to kdpipe. Fixed: one more student must rename nothing. A lone student then pays at
# most twice the forwards of a live teacher; of three, a live teacher costs at most one and a half
# times a cache's.
STUDENTS_PER_CACHE = 2


def build_plan(study: Study) -> Plan:
    """Build the plan of a study.

    Parameters
    ----------
    study : Study
        A study that has passed the checks of `config.load`.

    Returns
    -------
    Plan
        The whole plan, parents first.
    """
    card = load_section_card(study.data)
    unlabelled_card = (
        unlabelled.load_unlabelled_card(study.data, study.splits)
        if unlabelled.has_unlabelled_images(study.data)
        else None
    )
    plan = Plan(study, card, unlabelled_card)
    plan.datasets[card.folder] = study.data
    if unlabelled_card is not None:
        plan.datasets[unlabelled_card.folder] = study.data
    data_shape = DataShape(card.shape, card.classes, card.class_names)
    model_inputs = input_transform.resolve_inputs(study.weights_sources, data_shape)
    networks = study_models.load_study_models(
        study.networks, study.code, data_shape, model_inputs, study.network_names, study.starts
    )
    for split in study.splits:
        experiment_planner = ExperimentPlanner(plan, networks, split)
        for block in study.experiments:
            experiment_planner.add_block(block)
        for label in study.ensembles:
            experiment_planner.add_ensemble(label)
    for network, texts in study.keep_checkpoints.items():
        _keep_checkpoints(plan, network, texts, study.get_recipe(network).epochs)
    for label, transfer in study.transfers.items():
        add_probes(plan, label, transfer)
    if study.export:
        add_export_evals(plan)
    return plan


def _keep_checkpoints(plan: Plan, network: str, texts: list[str], epochs: int) -> None:
    """Keep the checkpoints that a study lists of the full trainings of a network."""
    for run in plan.runs.values():
        if run.network == network and run.spec.teacher is None and run.epochs == epochs:
            for stop in stops.expand_stops(texts, epochs):
                plan.keep_checkpoint(run, stop.epochs)


# --- blocks and ensembles


@dataclass(frozen=True)
class Training:
    """How long the networks of a path are trained, and on which images.

    Attributes
    ----------
    length : int or None
        Epochs of the student, of the networks of `via` and of `self`; None: those of each recipe.
    train_size : int or None
        Training images of the student, as its block lists them; None: the study's.
    runs, teacher_runs : RunPlanner
        Planners of the runs on these images, and on those of the teachers.
    """

    length: int | None
    train_size: int | None
    runs: "RunPlanner"
    teacher_runs: "RunPlanner"


class ExperimentPlanner:
    """Lays out blocks and ensembles of one split as cells and rows, and plans their runs.

    Blocks and ensembles may both teach: a block named as a teacher is its last network, and an
    ensemble may be the generations of a block. So each is laid out when it is first needed, and
    cached.

    Parameters
    ----------
    plan : Plan
        The plan to fill.
    networks : StudyModels
        Networks of the study.
    split : int
        Split of the data.
    """

    def __init__(self, plan: Plan, networks: StudyModels, split: int = 0):
        self.plan = plan
        self.study = plan.study
        self.networks = networks
        self.split = split
        self.runs = RunPlanner(plan, networks, split)
        self.blocks = {block.name: block for block in plan.study.experiments}
        self._runs_by_size = {self.runs.train_size: self.runs}
        # Of a block, by the seed, the planner and the length on which they depend.
        self._teachers: dict[tuple[object, ...], list[Teacher]] = {}
        # Of blocks that teach, by seed and training images.
        self._last_runs: dict[tuple[str, int, int], Run] = {}
        self._ensemble_rows: dict[tuple[str, int, int], list[EnsembleRow]] = {}

    def add_block(self, block: BlockConfig) -> None:
        """Add the cells of a block, and the scratch runs that they are compared with.

        Parameters
        ----------
        block : BlockConfig
            A block of the study.
        """
        for seed in block.seeds or self.study.due_seeds:
            for student in block.students:
                for training in self._list_trainings(block, student):
                    self._add_cells(block, student, seed, training)

    def _add_cells(self, block: BlockConfig, student: str, seed: int, training: Training) -> None:
        """Add the cells of one student and seed, at one length and size."""
        for network in [*(block.via or []), student]:
            self._plan_scratch(network, seed, training)
        for cells in self._plan_paths(block, student, seed, training):
            self.plan.cells.extend(cells)
            if block.scratch_long:
                self._plan_scratch_long(cells[-1], training)
        for cell in self._plan_direct(block, student, seed, training):
            self.plan.cells.append(cell)
            if block.scratch_long:
                self._plan_scratch_long(cell, training)

    def add_ensemble(self, label: str) -> None:
        """Add the rows of an ensemble, for every seed for which it is evaluated.

        Parameters
        ----------
        label : str
            Name of the ensemble in the study.
        """
        for seed in self._get_ensemble_seeds(self.study.ensembles[label]):
            self.plan.ensemble_rows.extend(self._plan_ensembles(label, seed, self.runs))

    # --- lengths and sizes

    def _list_trainings(self, block: BlockConfig, student: str) -> Iterator[Training]:
        """Yield the lengths and sizes at which a block trains a student."""
        for length in self._list_lengths(block, student):
            for train_size in block.train_size or [None]:
                runs = self._get_runs(train_size)
                teacher_runs = self.runs if block.teacher_images == "all" else runs
                yield Training(length, train_size, runs, teacher_runs)

    def _list_lengths(self, block: BlockConfig, student: str) -> list[int | None]:
        """Return the lengths of a student's training in epochs."""
        if block.epochs is None:
            return [None]
        recipe_epochs = self.runs.get_recipe(student).epochs
        return [stops.resolve_length(length, recipe_epochs) for length in block.epochs]

    def _get_runs(self, train_size: int | None) -> "RunPlanner":
        """Return the planner of runs on so many images; None: the study's."""
        size = train_size or self.runs.train_size
        if size not in self._runs_by_size:
            self._runs_by_size[size] = RunPlanner(self.plan, self.networks, self.split, size)
        return self._runs_by_size[size]

    # --- blocks

    def _plan_scratch(self, network: str, seed: int, training: Training) -> None:
        """Plan the scratch run of a network."""
        run = training.runs.plan_scratch_run(network, seed, length=training.length)
        self.plan.add_role(run, "scratch")
        key = (network, seed, run.split)
        if training.length is None and training.train_size is None:
            self.plan.scratch.setdefault(key, run)
        else:
            variant = (*key, training.length, training.train_size)
            self.plan.scratch_variants.setdefault(variant, run)

    def _plan_scratch_long(self, cell: Cell, training: Training) -> None:
        """Plan longer scratch runs that cost as much as a student, and as its whole path."""
        runs = training.runs
        for plan_long_run in (runs.plan_equal_cost_run, runs.plan_equal_path_cost_run):
            long_run = plan_long_run(cell.run, cell.seed)
            self.plan.add_role(long_run, "scratch_long")
            self.plan.scratch_long.append((cell.block, long_run, cell))

    def _plan_paths(
        self, block: BlockConfig, student: str, seed: int, training: Training
    ) -> Iterator[list[Cell]]:
        """Yield the cells of each teacher and method of a block, from first to last step."""
        for teacher in self._iter_teachers(block, student, seed, training):
            for method in block.methods:
                yield self._plan_path(block, teacher, student, method, seed, training)

    def _plan_path(
        self,
        block: BlockConfig,
        head: Teacher,
        student: str,
        method: str | list[str],
        seed: int,
        training: Training,
    ) -> list[Cell]:
        """Return one cell for each step from the head to the student's last generation."""
        via = block.via or []
        path = [*via, *[student] * block.generations]
        labels = [method] * len(path) if isinstance(method, str) else method
        teacher = head
        cells: list[Cell] = []
        for step, (network, label) in enumerate(zip(path, labels, strict=True)):
            run = training.runs.plan_student_run(network, seed, teacher, label, training.length)
            self.plan.add_role(run, "student")
            labels_so_far = labels[: step + 1]
            cells.append(
                Cell(
                    block=block.name,
                    teacher=head,
                    via=tuple(via[:step]),
                    student=network,
                    method=label if len(set(labels_so_far)) == 1 else " > ".join(labels_so_far),
                    generation=max(1, step - len(via) + 1),
                    step=step + 1,
                    last=step + 1 == len(path),
                    run=run,
                    seed=seed,
                    length=training.length,
                    train_size=training.train_size,
                )
            )
            if not cells[-1].last:
                teacher = Teacher.from_run(network, run)
        return cells

    def _plan_direct(
        self, block: BlockConfig, student: str, seed: int, training: Training
    ) -> Iterator[Cell]:
        """Yield what a chain is compared with: large -> small and mid -> small in one step.

        The mid networks on labels are trained as those on the path: as long as the student, on its
        images.
        """
        if not block.via:
            return
        teacher_seed = _get_teacher_seed(block, seed)
        heads = [*self._iter_teachers(block, student, seed, training)]
        for network in block.via:
            run = training.runs.plan_scratch_run(network, teacher_seed, length=training.length)
            self.plan.add_role(run, "teacher")
            heads.append(Teacher.from_run(network, run))
        single = block.model_copy(update={"via": None, "generations": 1})
        last_methods = [m if isinstance(m, str) else m[-1] for m in block.methods]
        for head in heads:
            for method in dict.fromkeys(last_methods):
                yield from self._plan_path(single, head, student, method, seed, training)

    # --- teachers

    def _iter_teachers(
        self, block: BlockConfig, student: str, seed: int, training: Training
    ) -> Iterator[Teacher]:
        """Yield the teachers of a block, each planned once for all students that share it."""
        teacher_seed = _get_teacher_seed(block, seed)
        key: tuple[object, ...] = (block.name, teacher_seed, training.teacher_runs.train_size)
        if "self" in block.teachers:
            key += (student, training.length)
        if key in self._teachers:
            yield from self._teachers[key]
            return
        teachers: list[Teacher] = []
        for teacher in self._plan_teachers(block, student, teacher_seed, training):
            teachers.append(teacher)
            yield teacher  # its students are planned, and so listed, before the next teacher
        self._teachers[key] = teachers

    def _plan_teachers(
        self, block: BlockConfig, student: str, seed: int, training: Training
    ) -> Iterator[Teacher]:
        """Yield the teachers of a block.

        Their stops are those of their own training. That of `self` is as long as the student's, so
        its stops are scaled with it.
        """
        runs = training.teacher_runs
        for label in block.teachers:
            if label in self.study.ensembles:
                yield from self._plan_ensemble_teachers(label, seed, runs)
            elif label in self.blocks:
                run = self._plan_last_run(self.blocks[label], seed, runs)
                for stop in stops.expand_stops(block.stops, run.epochs):
                    self.plan.keep_checkpoint(run, stop.epochs)
                    yield Teacher.from_run(label, run, stop)
            elif label in self.study.pretrained:
                run = self.runs.plan_pretrained_run(label)
                self.plan.add_role(run, "teacher")
                yield Teacher.from_run(label, run)
            else:
                network, length = (student, training.length) if label == "self" else (label, None)
                epochs = runs.get_recipe(network).epochs
                for stop in stops.expand_stops(block.stops, epochs, length):
                    run = runs.plan_scratch_run(network, seed, stop, length=length)
                    self.plan.add_role(run, "teacher")
                    self.plan.keep_checkpoint(run, stop.epochs)
                    yield Teacher.from_run(network, run, stop)

    def _plan_ensemble_teachers(
        self, label: str, seed: int, runs: "RunPlanner"
    ) -> Iterator[Teacher]:
        """Yield the teachers that an ensemble makes."""
        average_at = self.study.ensembles[label].average_at
        for row in self._plan_ensembles(label, seed, runs):
            ensemble = row.ensemble
            stop = stops.Stop("full", max(epoch for _, epoch in ensemble.members))
            yield Teacher(label, stop, ensemble.members, average_at, ensemble)

    def _plan_last_run(self, block: BlockConfig, seed: int, runs: "RunPlanner") -> Run:
        """Return the network that a block ends in on these images, when it is named as a teacher.

        Such a block has one length, and no sizes of its own.
        """
        key = (block.name, seed, runs.train_size)
        if key not in self._last_runs:
            (length,) = self._list_lengths(block, block.students[0])
            training = Training(length, None, runs, runs)
            (cells,) = self._plan_paths(block, block.students[0], seed, training)
            self._last_runs[key] = cells[-1].run
        return self._last_runs[key]

    # --- ensembles

    def _get_ensemble_seeds(self, ensemble: EnsembleConfig) -> list[int]:
        """Return the seeds for which an ensemble is evaluated: its block's, or the study's."""
        block = self.blocks[ensemble.block] if ensemble.block else None
        return block.seeds if block and block.seeds else self.study.due_seeds

    def _plan_ensembles(self, label: str, seed: int, runs: "RunPlanner") -> list[EnsembleRow]:
        """Return one row, or one for each path of a block, on the images of `runs`."""
        key = (label, seed, runs.train_size)
        if key not in self._ensemble_rows:
            ensemble = self.study.ensembles[label]
            self._ensemble_rows[key] = (
                list(self._plan_generations(label, self.blocks[ensemble.block], seed, runs))
                if ensemble.block is not None
                else [self._plan_networks(label, ensemble, seed, runs)]
            )
        return self._ensemble_rows[key]

    def _plan_generations(
        self, label: str, block: BlockConfig, seed: int, runs: "RunPlanner"
    ) -> Iterator[EnsembleRow]:
        """Yield the ensembles of a block's generations, at the one length that it has."""
        for student in block.students:
            (length,) = self._list_lengths(block, student)
            for cells in self._plan_paths(block, student, seed, Training(length, None, runs, runs)):
                members = [(cell.run, cell.run.epochs) for cell in cells if cell.student == student]
                ensemble = self._plan_ensemble(members, seed)
                source = f"{block.name}: {student}"
                yield EnsembleRow(label, source, ensemble, cells[-1].teacher, cells[-1].method)

    def _plan_networks(
        self, label: str, ensemble: EnsembleConfig, seed: int, runs: "RunPlanner"
    ) -> EnsembleRow:
        """Return the ensemble of independently trained networks."""
        names = ensemble.networks or []
        pretrained = [name for name in names if name in self.study.pretrained]
        points = [
            (network, stop)
            for network in names
            if network not in pretrained
            for stop in stops.expand_stops(ensemble.stops, self.runs.get_recipe(network).epochs)
        ]
        copies = ensemble.copies or 1
        if ensemble.operations_of is not None:
            first_seed = self._get_ensemble_seeds(self.study.ensembles[ensemble.operations_of])[0]
            reference = self._plan_ensembles(ensemble.operations_of, first_seed, runs)[0].ensemble
            macs = sum(self.runs.get_cost(network).multiply_adds for network, _ in points)
            copies = max(1, reference.cost.multiply_adds // macs)
        members: list[tuple[Run, int]] = []
        for name in pretrained:
            run = self.runs.plan_pretrained_run(name)
            self.plan.add_role(run, "member")
            members.append((run, run.epochs))
        for network, stop in points:
            for member in range(copies):
                run = runs.plan_scratch_run(network, seed, stop, member)
                self.plan.add_role(run, "member")
                self.plan.keep_checkpoint(run, stop.epochs)
                members.append((run, stop.epochs))
        return EnsembleRow(label, " + ".join(names), self._plan_ensemble(members, seed))

    def _plan_ensemble(self, members: list[tuple[Run, int]], seed: int) -> Ensemble:
        """Return the ensemble of these members."""
        ensemble_spec = spec.build_ensemble_spec(
            [(run.digest, epoch) for run, epoch in members], seed
        )
        ensemble = Ensemble(
            name=ensemble_spec.name,
            digest=ensemble_spec.digest,
            spec=ensemble_spec,
            members=tuple(members),
            cost=Cost(
                sum(run.cost.parameters for run, _ in members),
                sum(run.cost.multiply_adds for run, _ in members),
            ),
        )
        return self.plan.ensembles.setdefault(ensemble.name, ensemble)


def _get_teacher_seed(block: BlockConfig, seed: int) -> int:
    """Return the seed of the teacher of a student's seed."""
    return seed if block.teacher_seed == "paired" else block.teacher_seed


# --- runs and logit caches


def is_worth_caching(epochs: int, views: int) -> bool:
    """Return whether runs of so many epochs learn from logit caches.

    A cache costs a forward for each view of each image, a live teacher one for each epoch. All
    epochs count, also after KD was stopped: methods of one teacher are compared, and share its
    outputs.

    Parameters
    ----------
    epochs : int
        Epochs of the student.
    views : int
        Views of each image; 0 if there are infinitely many.

    Returns
    -------
    bool
        Whether a cache is cheaper.
    """
    return 0 < views < STUDENTS_PER_CACHE * epochs


class RunPlanner:
    """Plans the runs and logit caches on the images of one split into the plan, each once.

    A run is identified by the digest of its spec. What is requested thousands of times, networks on
    labels and logit caches, is looked up before a spec is made and hashed.

    Parameters
    ----------
    plan : Plan
        The plan to fill.
    networks : StudyModels
        Networks of the study.
    split : int
        Split of the data.
    train_size : int, optional
        Training images; by default those of the study.
    """

    def __init__(
        self, plan: Plan, networks: StudyModels, split: int = 0, train_size: int | None = None
    ):
        self.plan = plan
        self.study = plan.study
        self.networks = networks
        data = plan.study.data
        if train_size is not None:
            data = data.model_copy(update={"train_size": train_size})
        self.data = build_data_spec(data, plan.card, split)
        self.unlabelled = build_unlabelled_spec(data, plan.card, plan.unlabelled)
        self.train_size = self.data.train_size
        self.views = count_views(self.data)
        self._runs_by_digest: dict[str, Run] = {}
        self._scratch_runs: dict[tuple[str, int, Stop | None, int, int | None], Run] = {}
        self._logit_caches: dict[tuple[str, int, str, str, bool, str], LogitCache] = {}
        # By the teacher, which its students share, the source of its outputs and its precision; and
        # of the caches, whether there are unlabelled images, and the students' images.
        self._teacher_specs: dict[tuple[Teacher, str, str], spec.TeacherSpec] = {}
        self._teacher_caches: dict[tuple[Teacher, str, str, bool, str], tuple[LogitCache, ...]] = {}
        self._data_specs: dict[tuple[tuple[str, float], ...], spec.DataSpec] = {}
        self._recipes: dict[str, Recipe] = {}
        self._costs: dict[str, Cost] = {}
        self._model_specs: dict[str, spec.ModelSpec] = {}
        self._lineages: dict[tuple[str, int], Lineage] = {}
        self._term_infos: dict[str, TermCard] = {}
        # Of students: the spec as far as network, method and length decide it, the outputs of the
        # teacher, and the precision in which it computes them.
        self._student_specs: dict[tuple[str, str, int | None], tuple[spec.RunSpec, str, str]] = {}

    def plan_scratch_run(
        self,
        network: str,
        seed: int,
        stop: Stop | None = None,
        member: int = 0,
        length: int | None = None,
    ) -> Run:
        """Plan a network trained on labels alone.

        Parameters
        ----------
        network : str
            Name of the network.
        seed : int
            Its seed.
        stop : Stop, optional
            A schedule is a recipe of its own length; a checkpoint is cut out of the full training.
        member : int
            Number of the copy in an ensemble.
        length : int, optional
            Epochs of the full training; by default those of its recipe.

        Returns
        -------
        Run
            The run.
        """
        key = (network, seed, stop, member, length)
        if key in self._scratch_runs:
            return self._scratch_runs[key]
        recipe = self.get_recipe(network)
        if stop is not None and stop.has_own_run:
            recipe = stop.scale_recipe(recipe)
        elif length is not None:
            recipe = recipe.with_epochs(length)
        run_spec = self._build_spec(network, recipe, seed, member=member)
        return self._scratch_runs.setdefault(key, self._plan_run(run_spec, network))

    def plan_student_run(
        self, network: str, seed: int, teacher: Teacher, method: str, length: int | None = None
    ) -> Run:
        """Plan a student of a teacher.

        Parameters
        ----------
        network : str
            Name of the student's network.
        seed : int
            Its seed.
        teacher : Teacher
            Its teacher.
        method : str
            Label of a method of the study.
        length : int, optional
            Epochs of its training; by default those of its recipe.

        Returns
        -------
        Run
            The run.
        """
        key = (network, method, length)
        if key not in self._student_specs:
            config = self.study.methods[method]
            recipe, method_spec, outputs = self._resolve_method(network, config, length)
            template = self._build_spec(network, recipe, seed, method=method_spec)
            precision = config.teacher_precision or self.study.teacher_precision
            self._student_specs[key] = template, outputs, precision
        template, outputs, precision = self._student_specs[key]
        teaching = TeachingSpec(teacher, template.method or {}, outputs, precision, template.data)
        run_spec = template.replace(
            seed=seed,
            stage=teaching.compute_stage(network),
            teacher=self._get_teacher_spec(teaching),
        )
        return self._plan_run(run_spec, network, teaching)

    def _resolve_method(
        self, network: str, method: MethodConfig, length: int | None
    ) -> tuple[Recipe, dict[str, Any], str]:
        """Return a method's recipe for a network, its spec, and the source of teacher outputs.

        The epochs of the recipe choose the source, so that runs of all lengths share a cache, and
        none differs from another by its precision.
        """
        recipe = self.get_recipe(network)
        recipe_epochs = recipe.epochs
        if length is not None:
            recipe = recipe.with_epochs(length)
        if method.label_smoothing is not None:
            recipe = recipe.model_copy(update={"label_smoothing": method.label_smoothing})
        if method.autocast is not None:
            recipe = recipe.model_copy(update={"autocast": method.autocast})
        method_spec = methods.build_method_spec(
            method, recipe.epochs, self._load_term_info(method), recipe_epochs
        )
        method_spec |= self.unlabelled if method.unlabelled else {}
        outputs = self.study.teacher_outputs
        if outputs == "auto":
            outputs = "table" if is_worth_caching(recipe_epochs, self.views) else "live"
        if enabled_mixes(recipe) and self.study.data.views is None:
            outputs = "live"
        return recipe, method_spec, methods.choose_teacher_source(method_spec, outputs)

    def _load_term_info(self, method: MethodConfig) -> TermCard | None:
        """Load the card of a method's custom loss term."""
        if method.term is None:
            return None
        if method.term not in self._term_infos:
            folder = Path(self.study.code or "")
            self._term_infos[method.term] = term_card.load_term_card(
                folder, method.term, "methods", "STUDY"
            )
        return self._term_infos[method.term]

    def plan_equal_cost_run(self, student: Run, seed: int) -> Run:
        """Plan a network on labels for the operations of a student and its teacher's outputs.

        The teacher's own training is not counted: it exists already when one distills.

        Parameters
        ----------
        student : Run
            The student.
        seed : int
            Seed of the new run.

        Returns
        -------
        Run
            The run.
        """
        label_macs = self._count_label_macs(student)
        return self._plan_longer_run(
            student, seed, compute_epochs_multiplier(label_macs, student.multiply_adds - label_macs)
        )

    def plan_equal_path_cost_run(self, student: Run, seed: int) -> Run:
        """Plan a network on labels for the operations of a student and all its ancestors.

        It has at most `MAX_EPOCHS_MULTIPLIER` times its epochs: beside a large teacher it would be
        absurdly long.

        Parameters
        ----------
        student : Run
            The student.
        seed : int
            Seed of the new run.

        Returns
        -------
        Run
            The run.
        """
        label_macs = self._count_label_macs(student)
        other_macs = (
            student.multiply_adds - label_macs + count_ancestor_macs(student, self._lineages)
        )
        return self._plan_longer_run(
            student, seed, compute_epochs_multiplier(label_macs, other_macs, MAX_EPOCHS_MULTIPLIER)
        )

    def _count_label_macs(self, student: Run) -> int:
        """Count the multiply-adds of a student's epochs on labels alone."""
        return FORWARDS_PER_STEP * student.cost.multiply_adds * self.train_size * student.epochs

    def _plan_longer_run(self, student: Run, seed: int, factor: float) -> Run:
        """Plan a network on labels for a multiple of its student's epochs."""
        recipe = self.get_recipe(student.network).with_epochs(student.epochs)
        longer = recipe.model_copy(
            update={
                "epochs": round(recipe.epochs * factor),
                "drop_epochs": [round(epoch * factor) for epoch in recipe.drop_epochs],
            }
        )
        return self._plan_run(self._build_spec(student.network, longer, seed), student.network)

    def plan_pretrained_run(self, label: str) -> Run:
        """Plan a run of no epochs, one for all seeds, that evaluates pretrained weights.

        If its input differs from the students', its label says so.

        Parameters
        ----------
        label : str
            Name under `pretrained` in the study.

        Returns
        -------
        Run
            The run.
        """
        source = self.study.pretrained[label]
        recipe = self.get_recipe(source.network).model_copy(update={"epochs": 0, "drop_epochs": []})
        checksum = weights_info.get_checksum(source)
        weights_spec = spec.PretrainedSpec(weights=source.weights, sha256=checksum)
        network = label if label in self.networks.adapted else source.network
        run = self._plan_run(self._build_spec(network, recipe, 0, pretrained=weights_spec), network)
        if (path := weights_info.find_weights_file(source)) is not None:
            self.plan.weights[run.name] = path
        return run

    def get_recipe(self, network: str) -> Recipe:
        """Return the recipe of a network.

        Parameters
        ----------
        network : str
            Name of the network.

        Returns
        -------
        Recipe
            How every run of it is trained.
        """
        if network not in self._recipes:
            self._recipes[network] = self.study.get_recipe(network)
        return self._recipes[network]

    def _get_model_spec(self, network: str) -> spec.ModelSpec:
        if network not in self._model_specs:
            self._model_specs[network] = self.networks.spec(network)
        return self._model_specs[network]

    def get_cost(self, network: str) -> Cost:
        """Return the cost of classifying one image.

        Parameters
        ----------
        network : str
            Name of the network.

        Returns
        -------
        Cost
            Its parameters and multiply-adds.
        """
        if network not in self._costs:
            self._costs[network] = self.networks.cost(network)
        return self._costs[network]

    def _build_spec(self, network: str, recipe: Recipe, seed: int, **parts: Any) -> spec.RunSpec:
        """Return the spec of a run on these images; `parts` as `spec.build_run_spec` takes them."""
        # Only the best epoch depends on it, which weights that are loaded do not have.
        chooses = self.plan.study.reading == "best" and not parts.get("pretrained")
        metric = self.plan.study.metric if chooses else "top1"
        return spec.build_run_spec(
            self._get_data_spec(recipe),
            self._get_model_spec(network),
            recipe,
            seed=seed,
            metric=metric,
            **parts,
        )

    def _get_data_spec(self, recipe: Recipe) -> spec.DataSpec:
        """Return the images of the runs with a recipe, one object for all that mix them alike."""
        mixes = tuple(enabled_mixes(recipe).items())
        if mixes not in self._data_specs:
            self._data_specs[mixes] = add_mixtures(self.data, recipe)
        return self._data_specs[mixes]

    def _get_teacher_spec(self, teaching: TeachingSpec) -> spec.TeacherSpec:
        """Return the teacher as the specs of its students have it."""
        teacher = teaching.teacher
        key = (teacher, teaching.outputs, teaching.teacher_precision)
        if key not in self._teacher_specs:
            self._teacher_specs[key] = spec.build_teacher_spec(
                [(run.digest, run.network, epoch) for run, epoch in teacher.members],
                teacher.average_at,
                teaching.outputs,
                teaching.teacher_precision,
            )
        return self._teacher_specs[key]

    def _plan_run(
        self, run_spec: spec.RunSpec, network: str, teaching: TeachingSpec | None = None
    ) -> Run:
        """Return the run of a spec: a known one, or a new one."""
        digest = run_spec.digest
        if (existing := self._runs_by_digest.get(digest)) is not None:
            return existing
        cost = self.get_cost(network)
        members = teaching.teacher.members if teaching else ()
        n_unlabelled = run_spec.unlabelled_images_seen
        n_images = (
            self.train_size * run_spec.recipe.epochs + n_unlabelled
        )  # images, over all epochs
        n_teacher_images = (
            self.train_size * teaching.method["kd_epochs"] + n_unlabelled if teaching else 0
        )
        run = Run(
            name=run_spec.name,
            digest=digest,
            spec=run_spec,
            parents=tuple(dict.fromkeys(run for run, _ in members)),
            cost=cost,
            train_multiply_adds=FORWARDS_PER_STEP * cost.multiply_adds * n_images,
            teacher_multiply_adds=teaching.teacher.multiply_adds * n_teacher_images
            if teaching
            else 0,
            logit_caches=self._plan_logit_caches(teaching) if teaching else (),
        )
        self._runs_by_digest[digest] = self.plan.runs[run.name] = run
        init_from = self.study.starts.get(network)
        if (
            init_from is not None
            and (path := weights_info.find_weights_file(init_from)) is not None
        ):
            self.plan.weights[run.name] = path
        return run

    def _plan_logit_caches(self, teaching: TeachingSpec) -> tuple[LogitCache, ...]:
        """Return the logit caches of a student's teacher; none if it is live."""
        if teaching.outputs == "live":
            return ()
        unlabelled_part = spec.select_unlabelled_keys(teaching.method)
        outputs, precision = teaching.outputs, teaching.teacher_precision
        images = teaching.data.canonical_json
        key = (teaching.teacher, outputs, precision, bool(unlabelled_part), images)
        if key not in self._teacher_caches:
            self._teacher_caches[key] = tuple(
                self._plan_logit_cache(run, epoch, teaching, part)
                for part in ([{}, unlabelled_part] if unlabelled_part else [{}])
                for run, epoch in teaching.teacher.members
            )
        return self._teacher_caches[key]

    def _plan_logit_cache(
        self, run: Run, epoch: int, teaching: TeachingSpec, unlabelled: dict[str, Any]
    ) -> LogitCache:
        """Return the logit cache of the training images, or of unlabelled ones."""
        precision, teacher_precision = teaching.outputs, teaching.teacher_precision
        images = teaching.data.canonical_json
        key = (run.digest, epoch, precision, teacher_precision, bool(unlabelled), images)
        if key in self._logit_caches:
            return self._logit_caches[key]
        cache_spec = spec.build_logit_cache_spec(
            run.spec, run.digest, epoch, precision, unlabelled, teaching.data, teacher_precision
        )
        name = cache_spec.name
        entries = cache_spec.n_images * self.views
        bytes_each = BYTES_PER_LOGIT[precision] * self.plan.card.classes
        cache = LogitCache(
            name, cache_spec, run, entries * run.cost.multiply_adds, entries * bytes_each
        )
        # One of unlabelled images, which are never mixed, is shared by students of other mixtures.
        self._logit_caches[key] = self.plan.logit_caches.setdefault(name, cache)
        return self._logit_caches[key]


# --- probes and export evaluations of finished networks


def add_probes(plan: Plan, label: str, transfer: TransferConfig) -> None:
    """Plan the probes of a transfer, for the cells that the plan has.

    A probe says how well a network's features serve another data set.

    Parameters
    ----------
    plan : Plan
        The plan to fill.
    label : str
        Name of the transfer in the study.
    transfer : TransferConfig
        The transfer.
    """
    card = load_section_card(transfer.data)
    data = build_data_spec(transfer.data, card)
    plan.datasets.setdefault(card.folder, transfer.data)
    probes: dict[tuple[str, int], Probe] = {}
    for cell in plan.cells:
        if cell.block in transfer.blocks and cell.last:
            for role, run, epoch in _iter_cell_networks(plan, cell):
                if (probe := probes.get((run.name, epoch))) is None:
                    probe = probes[run.name, epoch] = _plan_probe(plan, run, epoch, data, card)
                plan.probe_rows.append(ProbeRow(label, role, cell, probe))


def add_export_evals(plan: Plan) -> None:
    """Plan an export evaluation of every last student, its scratch run and its teacher.

    It measures the network as the files that are deployed. Students are exported at the evaluation
    point of the study, teachers where they taught.

    Parameters
    ----------
    plan : Plan
        The plan to fill.
    """
    export_evals: dict[tuple[str, int, EvalPoint], ExportEval] = {}
    for cell in plan.cells:
        if cell.last:
            for role, run, epoch in _iter_cell_networks(plan, cell):
                eval_point = "last" if role == "teacher" else plan.study.reading
                key = (run.name, epoch, eval_point)
                if key not in export_evals:
                    export_evals[key] = _plan_export_eval(plan, run, epoch, eval_point)
                plan.export_eval_rows.append(ExportEvalRow(role, cell, export_evals[key]))


def _iter_cell_networks(plan: Plan, cell: Cell) -> Iterator[tuple[str, Run, int]]:
    """Yield the network at the end of a path, its scratch run, and its teacher.

    An ensemble that teaches has no features of its own.
    """
    scratch = plan.get_scratch_run(cell)
    yield "scratch", scratch, scratch.epochs
    yield "student", cell.run, cell.run.epochs
    if cell.teacher.ensemble is None:
        yield "teacher", *cell.teacher.members[0]


def _plan_probe(plan: Plan, run: Run, epoch: int, data: DataSpec, card: DatasetCard) -> Probe:
    """Return the probe of one (run, epoch)."""
    probe_spec = spec.build_probe_spec(run.spec, run.digest, epoch, data)
    digest, name = probe_spec.digest, probe_spec.name
    images = data.train_size + data.validation + card.test
    probe = Probe(name, digest, probe_spec, run, card, images * run.cost.multiply_adds)
    return plan.probes.setdefault(name, probe)


def _plan_export_eval(plan: Plan, run: Run, epoch: int, eval_point: EvalPoint) -> ExportEval:
    """Return the export evaluation of one (run, epoch)."""
    eval_spec = spec.build_export_eval_spec(run.spec, run.digest, epoch, eval_point)
    export_eval = ExportEval(eval_spec.name, eval_spec.digest, eval_spec, run)
    return plan.gauges.setdefault(export_eval.name, export_eval)
