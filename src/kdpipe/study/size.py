"""How much a study asks for, counted from its lists and without a plan of it.

A plan of millions of runs takes minutes and gigabytes to make, so a study is counted before it is
planned. Counted is what is a product of lists: distilled networks and those that are trained as
long, networks on labels, members of ensembles, probes, gauges. A distilled run that two experiments
share counts twice, and so does a stop that is written in two ways: only the plan, which compares
specs, knows them for one.
"""

import itertools

from kdpipe.study import salvage
from kdpipe.study.blocks import Block, Ensemble, Transfer
from kdpipe.study.sound import Sound


class Size:
    """The numbers of a study whose names lead somewhere and run in no circle."""

    def __init__(self, sound: Sound):
        self.sound = sound
        self._ends: dict[str, int] = {}

    def runs(self) -> int:
        """About how many runs, probes and gauges the study asks for."""
        seeds, count = self.sound.seeds, self._on_labels()
        for block in self.sound.blocks.values():
            times = len(block.seeds or seeds)
            count += times * self.ends(block) * block.steps * (2 if block.via else 1)
            if block.scratch_long:  # for its answers, whatever the stop; and for each path
                count += times * len(block.teachers) * len(block.students)
                count += times * self.ends(block)
        for name, ensemble in self.sound.ensembles.items():
            count += len(seeds) * self.copies(name) * self.points(ensemble)
        transfers = salvage.parts(Transfer, self.sound.content.get("transfers"))
        for transfer in transfers.values():
            for name in transfer.blocks:
                if (block := self.sound.named_blocks.get(name)) is not None:
                    count += len(block.seeds or seeds) * self._asked(block)
        if self.sound.content.get("export") is True:
            for block in self.sound.blocks.values():
                count += len(block.seeds or seeds) * self._asked(block)
        return count * max(1, len(self.sound.splits))

    def _on_labels(self) -> int:
        """Networks that are trained on labels: students from scratch, and teachers by schedule.

        One that several experiments ask for counts with the most seeds that one of them has.
        """
        found: dict[tuple[str, str], int] = {}
        for block in self.sound.blocks.values():
            count = len(block.seeds or self.sound.seeds)
            asked = [(name, "") for name in [*(block.via or []), *block.students]]
            taught = 1 if isinstance(block.teacher_seed, int) else count
            for teacher in block.teachers:
                if teacher in self.sound.networks:
                    stops = [text if "schedule" in text else "" for text in block.stops]
                    for key in ((teacher, stop) for stop in stops):
                        found[key] = max(found.get(key, 0), taught)
            for key in asked:
                found[key] = max(found.get(key, 0), count)
        return sum(found.values())

    def ends(self, block: Block) -> int:
        """Last networks of a block for one seed: teachers x stops x students x methods."""
        if block.name not in self._ends:
            heads = sum(self._heads(block, teacher) for teacher in block.teachers)
            self._ends[block.name] = heads * len(block.methods)
        return self._ends[block.name]

    def _asked(self, block: Block) -> int:
        """Networks of a block for one seed that are probed, or measured as files.

        The last of each path, the single teachers that paths begin with, and the students from
        scratch. A chain has two shorter ones beside it, from either of its teachers.
        """
        last = self.ends(block) * (3 if block.via else 1)
        alone = {name for name in block.teachers if name not in self.sound.ensembles}
        heads = itertools.product(alone | set(block.via or []), block.students, block.stops)
        pairs = {(self.sound.head(name, student) or name, text) for name, student, text in heads}
        taught = sum(self.sound.stops_of(text, network) for network, text in pairs)
        return last + taught + len(block.students)

    def _heads(self, block: Block, teacher: str) -> int:
        """Single teachers that stand under one name, for all students of a block."""
        if teacher in self.sound.ensembles:
            other = self.sound.named_blocks.get(self.sound.ensembles[teacher].block or "")
            return len(block.students) * (self.ends(other) if other else 1)
        pairs = itertools.product(block.students, block.stops)
        return sum(
            self.sound.stops_of(text, self.sound.head(teacher, student) or teacher)
            for student, text in pairs
        )

    def copies(self, name: str) -> int:
        """Members that an ensemble has of each network and stop."""
        ensemble = self.sound.ensembles[name]
        if ensemble.operations_of is None:
            return ensemble.copies or 1
        return max(1, self.operations(ensemble.operations_of) // self.price(ensemble))

    def points(self, ensemble: Ensemble) -> int:
        """Members of an ensemble in one copy: networks x stops."""
        return sum(self.sound.stops_of(text, network) for text, network in _points(ensemble))

    def price(self, ensemble: Ensemble) -> int:
        """Multiply-adds of one copy of an ensemble's members."""
        return sum(
            self.sound.networks.cost(network).multiply_adds * self.sound.stops_of(text, network)
            for text, name in _points(ensemble)
            for network in [self.sound.head(name, name) or name]
        )

    def operations(self, name: str) -> int:
        """Multiply-adds of an ensemble, at most."""
        ensemble = self.sound.ensembles[name]
        if ensemble.block is None:
            return self.copies(name) * self.price(ensemble)
        block = self.sound.named_blocks[ensemble.block]
        return block.steps * sum(
            self.sound.networks.cost(student).multiply_adds for student in block.students
        )


def _points(ensemble: Ensemble) -> itertools.product:
    return itertools.product(ensemble.stops, ensemble.networks or [])
