"""An estimate of the number of runs of a study, counted from its lists without a plan.

A plan of millions of runs takes minutes and gigabytes, so runs are counted before they are planned.
The count is a sum of products of list lengths: distilled networks and baselines of equal cost,
networks trained on labels, members of ensembles, probes, measured exports. A distilled run that two
experiments share counts twice, and so does a stop that is written in two ways: only the plan, which
compares specs, can detect these.
"""

import itertools
from collections.abc import Iterator

from kdpipe.config import partial_config
from kdpipe.config.partial_config import PartialConfig
from kdpipe.config.schema import BlockConfig, EnsembleConfig, TransferConfig


class RunCounter:
    """Counts of a study with defined names and without cycles.

    Parameters
    ----------
    config : PartialConfig
    """

    def __init__(self, config: PartialConfig):
        self.config = config
        self._end_counts: dict[str, int] = {}

    def count_runs(self) -> int:
        """Return the approximate number of runs, probes and measured exports of the study."""
        seeds, count = self.config.seeds, self._count_label_runs()
        for block in self.config.blocks.values():
            times = len(block.seeds or seeds)
            count += times * self.count_end_networks(block) * block.steps * (2 if block.via else 1)
            if block.scratch_long:  # of equal cost to KD, for any stop; and to each path
                count += times * len(block.teachers) * len(block.students) * block.variants
                count += times * self.count_end_networks(block)
        for name, ensemble in self.config.ensembles.items():
            count += len(seeds) * self.count_copies(name) * self.count_members(ensemble)
        transfers = partial_config.parse_all_lenient(
            TransferConfig, self.config.content.get("transfers")
        )
        for transfer in transfers.values():
            for name in transfer.blocks:
                if (block := self.config.named_blocks.get(name)) is not None:
                    count += len(block.seeds or seeds) * self._count_measured(block)
        if self.config.content.get("export") is True:
            for block in self.config.blocks.values():
                count += len(block.seeds or seeds) * self._count_measured(block)
        return count * max(1, len(self.config.splits))

    def _count_label_runs(self) -> int:
        """Count the networks trained on labels: students from scratch and scheduled teachers.

        One that several experiments share counts with the largest number of seeds among them.
        """
        seed_counts: dict[tuple[object, ...], int] = {}
        for block in self.config.blocks.values():
            count = len(block.seeds or self.config.seeds)
            lengths, sizes = block.epochs or [None], block.train_size or [None]
            teacher_sizes = sizes if block.teacher_images == "students" else [None]
            names = [*(block.via or []), *block.students]
            student_keys = itertools.product(names, [""], lengths, sizes)
            teacher_seeds = 1 if isinstance(block.teacher_seed, int) else count
            for teacher in block.teachers:
                if teacher in self.config.networks:
                    stops = [text if "schedule" in text else "" for text in block.stops]
                    for key in itertools.product([teacher], stops, [None], teacher_sizes):
                        seed_counts[key] = max(seed_counts.get(key, 0), teacher_seeds)
            for key in student_keys:
                seed_counts[key] = max(seed_counts.get(key, 0), count)
        return sum(seed_counts.values())

    def count_end_networks(self, block: BlockConfig) -> int:
        """Count the final networks for one seed.

        These are teachers x stops x students x methods, at each length and size.
        """
        if block.name not in self._end_counts:
            head_count = sum(self._count_heads(block, teacher) for teacher in block.teachers)
            self._end_counts[block.name] = head_count * len(block.methods) * block.variants
        return self._end_counts[block.name]

    def _count_measured(self, block: BlockConfig) -> int:
        """Count the networks of a block for one seed that are probed or measured as exports.

        These are the last network of each path, the single teachers at the start of paths, and the
        students from scratch. A chain is compared with two shorter ones, from either of its
        teachers.
        """
        end_count = self.count_end_networks(block) * (3 if block.via else 1)
        single_teachers = {name for name in block.teachers if name not in self.config.ensembles}
        heads = itertools.product(
            single_teachers | set(block.via or []), block.students, block.stops
        )
        pairs = {
            (self.config.resolve_teacher(name, student) or name, text)
            for name, student, text in heads
        }
        teacher_count = sum(self.config.count_stops(text, network) for network, text in pairs)
        return end_count + (teacher_count + len(block.students)) * block.variants

    def _count_heads(self, block: BlockConfig, teacher: str) -> int:
        """Count the single teachers that one name refers to, for all students of a block."""
        if teacher in self.config.ensembles:
            source_block = self.config.named_blocks.get(self.config.ensembles[teacher].block or "")
            return len(block.students) * (
                self.count_end_networks(source_block) if source_block else 1
            )
        pairs = itertools.product(block.students, block.stops)
        return sum(
            self.config.count_stops(text, self.config.resolve_teacher(teacher, student) or teacher)
            for student, text in pairs
        )

    def count_copies(self, name: str) -> int:
        """Count an ensemble's members per network and stop."""
        ensemble = self.config.ensembles[name]
        if ensemble.operations_of is None:
            return ensemble.copies or 1
        return max(1, self.inference_cost(ensemble.operations_of) // self.copy_cost(ensemble))

    def count_members(self, ensemble: EnsembleConfig) -> int:
        """Count the members of one copy of an ensemble: networks x stops."""
        return sum(
            self.config.count_stops(text, network) for text, network in _member_points(ensemble)
        )

    def copy_cost(self, ensemble: EnsembleConfig) -> int:
        """Return the multiply-adds of one copy of an ensemble's members."""
        return sum(
            self.config.networks.cost(network).multiply_adds
            * self.config.count_stops(text, network)
            for text, name in _member_points(ensemble)
            for network in [self.config.resolve_teacher(name, name) or name]
        )

    def inference_cost(self, name: str) -> int:
        """Return an upper bound of the multiply-adds of an ensemble."""
        ensemble = self.config.ensembles[name]
        if ensemble.block is None:
            return self.count_copies(name) * self.copy_cost(ensemble)
        block = self.config.named_blocks[ensemble.block]
        return block.steps * sum(
            self.config.networks.cost(student).multiply_adds for student in block.students
        )


def _member_points(ensemble: EnsembleConfig) -> Iterator[tuple[str, str]]:
    """Return the (stop, network) pairs of one copy of an ensemble."""
    return itertools.product(ensemble.stops, ensemble.networks or [])
