"""Loading a study: every mistake of a file, found at once and before any job.

pydantic finds what is wrong with a key by itself; here the names are followed: networks that
exist and fit the images, methods, blocks and ensembles that are defined, epochs that lie within
the training, references that do not run in a circle. Of a malformed section the sound keys are
followed all the same, so one mistake does not hide another. A study that passes can be planned.
"""

import contextlib
import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from kdpipe.data import cards
from kdpipe.data.keys import Data
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.learning.method import Method
from kdpipe.learning.recipe import Recipe
from kdpipe.networks import naming
from kdpipe.networks.catalogue import Catalogue
from kdpipe.networks.keys import OwnNetwork, Pretrained
from kdpipe.networks.own import card as network_card
from kdpipe.networks.own.card import NetworkCard
from kdpipe.study import salvage, stops, yaml_file
from kdpipe.study.grammar import CLAIMS, TABLES, Block, Ensemble, Study, Transfer
from kdpipe.study.mistakes import explain
from kdpipe.wording import listed, nearest, shown

MAX_MISTAKES = 100
MAX_RUNS = 100_000  # a plan of 10,000 takes a second or two
MAX_DEPTH = 50  # of experiments that teach one another

# Stands in for a recipe that is itself malformed, while changes to it are checked.
ANY_RECIPE = {"epochs": 100_000, "batch_size": 64, "lr": 0.1}


def load(path: Path | str, carded: bool = True) -> Study:
    """The study in a YAML file. Raises StudyError with every mistake of the file.

    Unless `carded`, networks of one's own need no cards, and such a study cannot be planned.
    """
    return validate(yaml_file.read(path), str(path), Path(path).parent, carded)


def validate(content: object, source: str, folder: Path = Path(), carded: bool = True) -> Study:
    """The study in a mapping. Raises StudyError with every mistake; `source` names it.

    Paths in it are seen from `folder`; in the study they are absolute.
    """
    content = _located(content, folder)
    mistakes: list[str] = []
    study = None
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        mistakes += explain(error, content, Study)
    if isinstance(content, dict):
        look = _Look(content, source, carded)
        mistakes += itertools.islice(look.mistakes(), MAX_MISTAKES)
        if study is not None and not mistakes and carded:
            mistakes += look.size(study)
    if mistakes or study is None:
        lines = [_by_name(line, content) for line in dict.fromkeys(mistakes)]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        if len(lines) > MAX_MISTAKES:
            count = f"very many mistakes, of which {MAX_MISTAKES} are listed"
        raise StudyError("\n  ".join([f"{source}: {count}", *lines[:MAX_MISTAKES]]))
    return study


def notes(study: Study) -> list[str]:
    """What is no mistake and yet seldom meant."""
    if study.data.validation:
        return []
    return [
        "note: no validation images: the report will not choose a best teacher; set data.validation"
    ]


class _Look:
    """The sound parts of a study, and the questions asked of them.

    What a malformed section leaves unknown is `lost`, and nothing is said that would rest on it.
    """

    def __init__(self, content: dict, source: str, carded: bool):
        self.content = content
        self.seeds = content.get("seeds")
        self.recipe, self.recipe_is_sound = salvage.part(Recipe, content.get("recipe"))
        self.data_part, _ = salvage.part(Data, content.get("data"))
        self.card, self.cardless = _card(self.data_part)

        own: dict[str, OwnNetwork] = salvage.parts(OwnNetwork, content.get("networks"))
        self.networks, self.uncarded = self.of_cards(own, source if carded else None)
        self.methods: dict[str, Method] = salvage.parts(Method, content.get("methods"))
        self.ensembles: dict[str, Ensemble] = salvage.parts(Ensemble, content.get("ensembles"))
        self.pretrained: dict[str, Pretrained] = salvage.parts(
            Pretrained, content.get("pretrained")
        )
        experiments = content.get("experiments")
        listed_blocks = experiments if isinstance(experiments, list) else []
        self.blocks: dict[int, Block] = salvage.parts(Block, dict(enumerate(listed_blocks)))
        self.by_name = {block.name: block for block in self.blocks.values() if block.name}
        self.by_name.pop("self", None)  # refused; it means no block

        names = [b["name"] for b in listed_blocks if isinstance(b, dict) and _named(b)]
        self.block_names = dict.fromkeys(names)
        self.places = [
            *((f"experiments[{i}].name", b.name) for i, b in self.blocks.items() if b.name),
            *((f"ensembles.{name}", str(name)) for name in self.ensembles),
            *((f"pretrained.{name}", str(name)) for name in self.pretrained),
            *((f"networks.{name}", str(name)) for name in self.networks.own),
        ]
        self.method_names = salvage.keys(content.get("methods"))
        self.ensemble_names = salvage.keys(content.get("ensembles"))
        self.pretrained_names = salvage.keys(content.get("pretrained"))
        self.sources = self.block_names | self.ensemble_names
        self.lost = {
            "method": not isinstance(content.get("methods"), dict),
            "block": not isinstance(experiments, list) or len(names) < len(experiments),
            "ensemble": not isinstance(content.get("ensembles", {}), dict),
            "pretrained": not isinstance(content.get("pretrained", {}), dict),
        }
        self.lost["block or ensemble"] = self.lost["block"] or self.lost["ensemble"]
        self.epochs: dict[str, int | None] = {}
        self.ends_of: dict[str, int] = {}
        self.circles = list(self.of_circles())

    def mistakes(self) -> Iterator[str]:
        yield from self.uncarded
        yield from self.of_names()
        yield from self.of_data("data", self.data_part, self.card, self.cardless)
        yield from self.of_recipes()
        yield from self.of_ensembles()
        for name, source in self.pretrained.items():
            yield from self.of_pretrained(f"pretrained.{name}", source)
        for index, block in self.blocks.items():
            yield from self.of_block(f"experiments[{index}]", block)
        yield from self.circles
        for name, transfer in salvage.items(self.content.get("transfers")):
            yield from self.of_transfer(name, transfer)
        yield from self.of_tables()

    def of_cards(
        self, own: dict[str, OwnNetwork], study: str | None
    ) -> tuple[Catalogue, list[str]]:
        """The networks that can be named, and what is wrong with the cards of one's own.

        `study` is the file to be named in a message; None where cards are not wanted.
        """
        found: dict[str, NetworkCard | None] = dict.fromkeys(
            salvage.keys(self.content.get("networks"))
        )
        code = self.content.get("code")
        mistakes: list[str] = []
        if code is not None and not self.content.get("networks"):
            mistakes.append("code: it is where networks of one's own lie, and there are none")
        elif isinstance(code, str) and not os.path.isdir(code):
            mistakes.append(f"code: there is no folder {shown(code)}")
        if self.card is None:  # what any network takes is the best guess
            return Catalogue(own=found), mistakes
        if study is not None and isinstance(code, str) and not mistakes:
            for name, network in own.items():
                if salvage.lost(network):
                    continue
                try:
                    found[name] = network_card.find(
                        Path(code), name, network, self.card.shape, self.card.classes, study
                    )
                except KdpipeError as error:
                    mistakes.append(str(error))
        return Catalogue(self.card.shape, self.card.classes, found), mistakes

    def of_names(self) -> Iterator[str]:
        seen: dict[str, str] = {}
        for where, name in self.places:
            if name in seen:
                yield f"{where}: the name {name} is taken by {seen[name]}; each needs its own"
            elif name == "self" or naming.has_form(name):
                yield f"{where}: {name} means a network here; take another name"
            seen.setdefault(name, where)
        all_seeds = [("seeds", self.seeds)]
        all_seeds += [(f"experiments[{i}].seeds", b.seeds) for i, b in self.blocks.items()]
        for where, seeds in all_seeds:
            if isinstance(seeds, list):
                for seed in _twice(seeds):
                    yield f"{where}: {seed} stands twice"

    def of_data(
        self, where: str, data: Data | None, card: cards.Card | None, cardless: str
    ) -> Iterator[str]:
        if data is None or data.name is None:
            return
        if data.card is not None and (data.path is None or data.name in cards.known()):
            yield (
                f"{where}.card: belongs to data of one's own, which has a path and a name of its "
                "own"
            )
        if card is None:
            guess = "" if data.path else nearest(data.name, cards.known())
            yield f"{where}.name: {cardless}{guess}"
            return
        for key, values in (("mean", data.mean), ("std", data.std)):
            if values is not None and len(values) != card.shape[0]:
                yield (
                    f"{where}.{key}: {shown(values)} for images of {card.shape[0]} channel(s): "
                    "give one number for each"
                )
        wanted = (data.train_size or 0) + data.validation
        if wanted > card.train or data.validation >= card.train:
            yield (
                f"{where}: train_size {data.train_size} and validation {data.validation} together "
                f"exceed the {card.train:,} training images of {data.name}"
            )
        yield from self.of_stream(where, data, card)
        height, width = card.shape[1:]
        if data.padding == "reflect" and data.pad >= min(height, width):
            yield (
                f"{where}.pad: {data.pad} pixels cannot be reflected in images of {height}x{width}"
            )

    def of_transfer(self, name: str, content: object) -> Iterator[str]:
        """Other images, of the shape that the study's networks take, and blocks to probe."""
        where = f"transfers.{name}"
        transfer, _ = salvage.part(Transfer, content)
        if transfer is None:
            return
        for block in transfer.blocks:
            yield from self.defined(f"{where}.blocks", block, "block", self.block_names)
        for block in _twice(transfer.blocks):
            yield f"{where}.blocks: {block} stands twice"
        data, _ = salvage.part(Data, dict(salvage.items(content)).get("data"))
        card, cardless = _card(data)
        yield from self.of_data(f"{where}.data", data, card, cardless)
        if data is None or card is None:
            return
        if not data.validation and "validation" not in salvage.lost(data):
            yield (
                f"{where}.data.validation: the strength of a probe is chosen on validation images: "
                "hold some out"
            )
        left = data.train_size or card.train - data.validation
        if left < card.classes:
            yield f"{where}.data: {left} training images are too few for {card.classes} classes"
        if self.card is None:
            return
        for block in (b for b in self.blocks.values() if b.name in transfer.blocks):
            for network, of in self.ends_and_heads(block):
                if not self.networks.is_linear(network):
                    yield (
                        f"{where}.blocks: {network}, a {of} of {block.name}, does not end in a "
                        f"linear classifier, whose input a probe takes: leave {block.name} out, or "
                        "take another network"
                    )
        if card.sha256 == self.card.sha256:
            yield f"{where}.data.name: {data.name} is the study's own data set: name another one"
        ours, theirs = (" x ".join(map(str, each.shape)) for each in (self.card, card))
        if theirs != ours and "resize" not in salvage.lost(data):
            cure = _alike(card, data, self.card.shape)
            yield f"{where}.data: its images are {theirs}, the study's networks take {ours}{cure}"

    def ends_and_heads(self, block: Block) -> list[tuple[str, str]]:
        """The last networks of a block and the single ones at its heads, as `_transfer` of plan."""
        found = [(student, "student") for student in block.students]
        for teacher in block.teachers:
            if teacher in self.by_name:
                heads = self.by_name[teacher].students
            elif teacher in self.pretrained:
                heads = [self.pretrained[teacher].network]
            else:
                heads = [] if teacher in self.ensemble_names or teacher == "self" else [teacher]
            found += [(head, "teacher") for head in heads if head]
        return found

    def of_stream(self, where: str, data: Data, card: cards.Card) -> Iterator[str]:
        """What images in an array have, and images that stream have not; and the reverse."""
        if not card.streamed:
            if data.crop is not None:
                yield (
                    f"{where}.crop: is for images that stream from their files; those of "
                    f"{data.name} are one array: augment them with pad and flip, or make a card of "
                    "their folder with kdpipe data PATH --stream SIDE"
                )
            return
        if data.path is None:
            yield (
                f"{where}.path: {data.name} is not downloaded: name the folder that holds its files"
            )
        if data.pad:
            instead = "leave pad out" if data.crop else "write crop: {} instead"
            yield f"{where}.pad: images that stream are not padded: {instead}"
        for key in ("mean", "std"):
            if key not in salvage.lost(data) and getattr(data, key) is None:
                yield (
                    f"{where}.{key}: this key is missing; it is not measured where images stream. "
                    f"Of ImageNet they are {cards.IMAGENET}"
                )
        live = where != "data" or self.content.get("teacher_outputs") != "table"
        if data.crop is not None and not live:
            yield (
                "teacher_outputs: table holds every view of every image, and data.crop makes views "
                "without end: write live, or leave one of the two keys out"
            )

    def of_recipes(self) -> Iterator[str]:
        for network, change in salvage.items(self.content.get("network_recipes")):
            where = f"network_recipes.{network}"
            yield from self.of_network(where, network)
            if isinstance(change, dict):
                try:
                    Recipe.model_validate(self.changed(change))
                except ValidationError as error:
                    yield from explain(error, self.changed(change), Recipe, where)
        for network, texts in salvage.items(self.content.get("keep_checkpoints")):
            where = f"keep_checkpoints.{network}"
            yield from self.of_network(where, network)
            for text in salvage.sound_stops(texts):
                if text.startswith("schedule"):
                    yield f"{where}: {text} is a training of its own; write checkpoint E or every K"
                else:
                    yield from self.of_stop(where, text, network)

    def of_ensembles(self) -> Iterator[str]:
        for name, ensemble in self.ensembles.items():
            where = f"ensembles.{name}"
            for network in ensemble.networks or []:
                yield from self.of_network(f"{where}.networks", network)
                for text in ensemble.stops:
                    yield from self.of_stop(f"{where}.stops", text, network)
            for network in _twice(ensemble.networks or []):
                yield f"{where}.networks: {network} stands twice; copies makes more of a network"
            yield from self.defined(f"{where}.block", ensemble.block, "block", self.block_names)
            yield from self.defined(
                f"{where}.operations_of", ensemble.operations_of, "ensemble", self.ensemble_names
            )

    def of_pretrained(self, where: str, source: Pretrained) -> Iterator[str]:
        if source.network is None or salvage.lost(source):
            return
        yield from self.of_network(f"{where}.network", source.network, trained=False)
        if source.weights is not None:
            known = naming.weights(source.network)
            if source.weights not in known:
                yield (
                    f"{where}.weights: {shown(source.weights)}: torchvision has {listed(known)} "
                    f"for {source.network}"
                )
            elif self.card is not None and self.card.classes != 1000:
                yield f"{where}.weights: of 1,000 classes, and the data have {self.card.classes}"
        if source.path is not None and not os.path.isfile(source.path):
            yield f"{where}.path: there is no file {shown(source.path)}"
        elif source.path is not None and source.weights is None and source.sha256 is None:
            with open(source.path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            yield f"{where}.sha256: this key is missing; of the file that is there it is {found}"

    def of_block(self, where: str, block: Block) -> Iterator[str]:
        for key in ("students", "via"):
            for network in getattr(block, key) or []:
                yield from self.of_network(f"{where}.{key}", network)
        for teacher in block.teachers:
            yield from self.of_teacher(where, teacher, block)
        for method in block.methods:
            names = [method] if isinstance(method, str) else method
            counted = salvage.lost(block).isdisjoint({"via", "generations"})
            if not isinstance(method, str) and counted and len(names) != block.steps:
                yield (
                    f"{where}.methods: {shown(method)} names {len(names)} methods, the experiment "
                    f"has {block.steps} step(s) (via and generations): give one for each step"
                )
            for name in names:
                yield from self.defined(f"{where}.methods", name, "method", self.method_names)
                yield from self.of_kd_stop(name, block)
            yield from self.of_attention(where, names, block)
        for key in ("teachers", "students", "methods", "stops"):
            for item in _twice(getattr(block, key)):
                yield f"{where}.{key}: {item} stands twice"

    def of_teacher(self, where: str, teacher: str, block: Block) -> Iterator[str]:
        if teacher in self.ensemble_names:
            if block.stops != ["full"]:
                yield f"{where}.stops: {teacher} is an ensemble, which has no stops but full"
            ensemble = self.ensembles.get(teacher)
            if ensemble is not None and ensemble.block in self.by_name:
                other = self.by_name[ensemble.block]
                yield from self.of_seeds(f"{where}.teachers: {teacher}", block, other)
        elif teacher in self.pretrained_names:
            if block.stops != ["full"]:
                yield f"{where}.stops: {teacher} is pretrained, and has no stops but full"
        elif teacher in self.block_names:
            other = self.by_name.get(teacher)
            if other is not None:
                yield from self.of_taught(where, teacher, block, other)
        elif teacher == "self" or teacher in self.networks:
            for network in block.students if teacher == "self" else [teacher]:
                yield from self.of_network(f"{where}.teachers", network)
                for text in block.stops:
                    yield from self.of_stop(f"{where}.stops", text, network)
        elif not self.lost["block or ensemble"] and not self.lost["pretrained"]:
            known = ["self", *self.sources, *self.pretrained_names]
            for line in self.of_network(f"{where}.teachers", teacher):
                yield f"{line}; nor is it one of {listed(known)}{nearest(teacher, known)}"

    def of_taught(self, where: str, name: str, block: Block, other: Block) -> Iterator[str]:
        """A block as a teacher: its one last network must be there for each seed and stop."""
        for text in block.stops:
            if text.startswith("schedule"):
                yield (
                    f"{where}.stops: {name} is an experiment: its student cannot be trained again "
                    f"by {text}; write `checkpoint E` or `full`"
                )
            else:
                for student in other.students[:1]:
                    yield from self.of_stop(f"{where}.stops", text, student)
        yield from self.of_seeds(f"{where}.teachers: {name}", block, other)
        if self.circles or {"teachers", "stops", "students", "methods"} & salvage.lost(other):
            return
        if self.ends(other) != 1:
            yield (
                f"{where}.teachers: {name} ends in {self.ends(other)} networks for each seed, and "
                "must end in one to teach: one teacher, one stop, one student, one method"
            )

    def of_seeds(self, what: str, block: Block, other: Block) -> Iterator[str]:
        """The seeds that a block needs of another must be among that one's own."""
        if {"seeds", "teacher_seed"} & (salvage.lost(block) | salvage.lost(other)):
            return
        offered, wanted = other.seeds or self.seeds, block.seeds or self.seeds
        if block.teacher_seed != "paired":
            wanted = [block.teacher_seed]
        if isinstance(offered, list) and isinstance(wanted, list):
            missing = [shown(seed) for seed in wanted if seed not in offered]
            if missing:
                yield (
                    f"{what} is needed for seed {listed(missing)}, which experiment {other.name} "
                    "has not: add it there"
                )

    def of_network(self, where: str, name: str, trained: bool = True) -> Iterator[str]:
        try:
            self.networks.check(str(name), trained)
        except KdpipeError as error:
            yield f"{where}: {error}"

    def of_stop(self, where: str, text: str, network: str) -> Iterator[str]:
        epochs = self.epochs_of(network)
        if epochs is not None and network in self.networks:
            try:
                stops.count(text, epochs)
            except KdpipeError as error:
                yield f"{where}: {error} (network {network})"

    def of_kd_stop(self, name: str, block: Block) -> Iterator[str]:
        method = self.methods.get(name)
        if method is None or not isinstance(method.stop_epoch, int):
            return
        for network in [*block.students, *(block.via or [])]:
            epochs = self.epochs_of(network)
            if epochs is not None and method.stop_epoch >= epochs:
                yield (
                    f"methods.{name}.stop_epoch: {method.stop_epoch} is not before the end: "
                    f"{network} trains for {epochs} epochs (experiment {block.name})"
                )

    def of_attention(self, where: str, names: list[str], block: Block) -> Iterator[str]:
        """Attention transfer needs one teacher, with maps of the sizes that the student has."""
        unknown = {"teachers", "students", "via", "generations"} & salvage.lost(block)
        if self.card is None or unknown or not names:
            return
        attending = [
            name in self.methods and bool(self.methods[name].attention_weight) for name in names
        ]
        for student, teacher in itertools.product(block.students, block.teachers):
            head: str | None = student if teacher == "self" else teacher
            if teacher in self.ensemble_names:
                head = None
            elif teacher in self.block_names:
                other = self.by_name.get(teacher)
                head = next(iter(other.students), None) if other else None
            elif teacher in self.pretrained_names:
                known = self.pretrained.get(teacher)
                head = known.network if known else None
            path = [*(block.via or []), student]
            steps = list(zip([head, *path], path, strict=False))
            wanted = itertools.zip_longest(steps, attending[: len(steps)], fillvalue=attending[-1])
            pairs = [step for step, attends in wanted if attends]
            if attending[-1]:  # the direct students that a chain is compared with
                pairs += [(head, student), *((network, student) for network in block.via or [])]
            for theirs, ours in dict.fromkeys(pairs):  # pyright: ignore
                yield from self.of_maps(f"{where}.methods", theirs, ours, teacher)

    def of_maps(self, where: str, teacher: str | None, student: str, label: str) -> Iterator[str]:
        if teacher is None:
            if label in self.ensemble_names:
                yield f"{where}: attention transfer needs one network, and {label} is an ensemble"
            return
        assert self.card is not None
        with contextlib.suppress(KdpipeError):  # a network that does not exist is said elsewhere
            shapes = [self.networks.group_shapes(name) for name in (teacher, student)]
            if None in shapes:
                return  # of a network without a card
            sizes = [[side for _, *side in groups or []] for groups in shapes]
            if sizes[0] != sizes[1] or not sizes[0]:
                yield (
                    f"{where}: attention transfer compares maps of equal size, and {teacher} has "
                    f"{_as_sizes(sizes[0])} where {student} has {_as_sizes(sizes[1])}"
                )

    def of_circles(self) -> Iterator[str]:
        needs: dict[str, list[str]] = {}
        for block in self.by_name.values():
            needs.setdefault(block.name, []).extend(block.teachers)
        for name, ensemble in self.ensembles.items():
            needs[name] = [n for n in (ensemble.block, ensemble.operations_of) if n]
        depth: dict[str, int] = {}
        for start in needs:
            path = {start: iter(needs[start])}  # a depth-first walk, without recursion
            while path and start not in depth:
                name = next(reversed(path))
                for other in path[name]:
                    if other in path:
                        names = list(path)
                        circle = [*names[names.index(other) :], other]
                        yield f"these need each other in a circle: {' -> '.join(circle)}"
                    elif other in needs and other not in depth:
                        path[other] = iter(needs[other])
                        break
                else:
                    depth[name] = 1 + max((depth.get(other, 0) for other in needs[name]), default=0)
                    del path[name]
        for name in [name for name in depth if depth[name] == MAX_DEPTH + 1][:1]:
            yield f"{name} leans on others that lean on others, more than {MAX_DEPTH} deep"

    def of_tables(self) -> Iterator[str]:
        for key, one, known in (("tables", "table", TABLES), ("claims", "claim", CLAIMS)):
            for name, reads in salvage.items(self.content.get(key)):
                if name not in known:
                    guess = nearest(name, known)
                    names = ", ".join(known)
                    yield f"{key}: there is no {one} {shown(name)}{guess} (known: {names})"
                for source in reads if isinstance(reads, list) else ():
                    if isinstance(source, str):
                        yield from self.defined(
                            f"{key}.{name}", source, "block or ensemble", self.sources
                        )

    def defined(self, where: str, name: str | None, what: str, known: dict) -> Iterator[str]:
        if name is not None and name not in known and not self.lost[what]:
            guess, what = nearest(name, known), what.replace("block", "experiment")
            yield f"{where}: there is no {what} {name}{guess} (defined: {listed(known)})"

    def changed(self, change: dict) -> dict:
        """A recipe with changes for one network."""
        base = self.recipe.model_dump() if self.recipe_is_sound else ANY_RECIPE
        return {**base, **change}

    def epochs_of(self, network: str) -> int | None:
        """How long a network trains, as far as that is known."""
        if network not in self.epochs:
            changes = dict(salvage.items(self.content.get("network_recipes"))).get(network)
            if isinstance(changes, dict) and "epochs" in changes:
                found, _ = salvage.part(Recipe, self.changed(changes))
            else:
                found = self.recipe
            self.epochs[network] = found.epochs if found else None
        return self.epochs[network]

    # --- how much is asked for

    def size(self, study: Study) -> Iterator[str]:
        """A mistake if a study without mistakes asks for more than can be planned."""
        count = 0
        for block in study.experiments:
            cells = len(block.seeds or study.seeds) * self.ends(block)
            count += cells * block.steps * (2 if block.via else 1)
        for name, ensemble in study.ensembles.items():
            count += len(study.seeds) * self.copies(name) * self.points(ensemble)
        if count > MAX_RUNS:
            yield (
                f"this study asks for about {count:,} runs, and at most {MAX_RUNS:,} can be "
                "planned: make its lists shorter"
            )

    def ends(self, block: Block) -> int:
        """Last networks of a block for one seed: teachers x stops x students x methods."""
        if block.name not in self.ends_of:
            heads = 0
            for teacher in block.teachers:
                if teacher in self.ensembles:
                    other = self.by_name.get(self.ensembles[teacher].block or "")
                    heads += len(block.students) * (self.ends(other) if other else 1)
                    continue
                for student in block.students:
                    network = student if teacher == "self" else teacher
                    if teacher in self.by_name:
                        network = next(iter(self.by_name[teacher].students), "")
                    heads += sum(self.stops_of(text, network) for text in block.stops)
            self.ends_of[block.name] = heads * len(block.methods)
        return self.ends_of[block.name]

    def copies(self, name: str) -> int:
        ensemble = self.ensembles[name]
        if ensemble.operations_of is None:
            return ensemble.copies or 1
        return max(1, self.operations(ensemble.operations_of) // self.price(ensemble))

    def points(self, ensemble: Ensemble) -> int:
        """Members of an ensemble in one copy: networks x stops."""
        pairs = itertools.product(ensemble.stops, ensemble.networks or [])
        return sum(self.stops_of(text, network) for text, network in pairs)

    def price(self, ensemble: Ensemble) -> int:
        """Multiply-adds of one copy of an ensemble's members."""
        return sum(
            self.networks.cost(network).multiply_adds * self.stops_of(text, network)
            for text, network in itertools.product(ensemble.stops, ensemble.networks or [])
        )

    def operations(self, name: str) -> int:
        """At most so many multiply-adds has an ensemble."""
        ensemble = self.ensembles[name]
        if ensemble.block is None:
            return self.copies(name) * self.price(ensemble)
        block = self.by_name[ensemble.block]
        like = Ensemble.model_validate({"networks": block.students})
        return block.steps * self.price(like)

    def stops_of(self, text: str, network: str) -> int:
        try:
            return stops.count(text, self.epochs_of(network) or 1)
        except KdpipeError:
            return 1  # said elsewhere


def _located(content: object, folder: Path) -> object:
    """The content of a study with its paths absolute."""
    if not isinstance(content, dict):
        return content
    content = dict(content)
    if content.get("networks"):
        code = content.get("code")
        content["code"] = _absolute(folder, "." if code is None else code)
    if "data" in content:
        content["data"] = _seen_from(folder, content["data"])
    if isinstance(content.get("pretrained"), dict):
        content["pretrained"] = {
            name: _seen_from(folder, source) for name, source in content["pretrained"].items()
        }
    if isinstance(content.get("transfers"), dict):
        content["transfers"] = {
            name: part | {"data": _seen_from(folder, part["data"])}
            if isinstance(part, dict) and "data" in part
            else part
            for name, part in content["transfers"].items()
        }
    return content


def _by_name(line: str, content: object) -> str:
    """A mistake with the names of the experiments beside their numbers: experiments[0] (size)."""

    def named(found: re.Match[str]) -> str:
        try:
            name = content["experiments"][int(found[1])]["name"]  # pyright: ignore
        except (TypeError, KeyError, IndexError, ValueError):
            return found[0]
        plain = isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]{1,40}", name)
        return f"{found[0]} ({name})" if plain else found[0]

    return re.sub(r"\bexperiments\[([0-9]{1,6})\](?=\.(?!name\b))", named, line)


def _seen_from(folder: Path, part: object) -> object:
    if not isinstance(part, dict):
        return part
    return {
        key: _absolute(folder, value) if key in ("path", "card") else value
        for key, value in part.items()
    }


def _absolute(folder: Path, value: object) -> object:
    if isinstance(value, str) and value and "\0" not in value:
        return os.path.abspath(folder / value)
    return value


def _card(data: Data | None) -> tuple[cards.Card | None, str]:
    """The card of what `data` names; or None, and why there is none."""
    if data is None or not isinstance(data.name, str):
        return None, ""
    try:
        return cards.of(data.name, data.path, data.card, data.resize), ""
    except KdpipeError as error:
        return None, str(error)


def _alike(card: cards.Card, data: Data, shape: tuple[int, int, int]) -> str:
    """What makes the images of a data set those of another shape (C, H, W), as a message ends."""
    channels, height, width = shape
    square = height == width
    if card.shape[0] == channels:
        return f"; resize: {height} scales them" if square else ""
    kind = "grey" if channels == 1 else "coloured"
    if data.path is None or data.name in cards.known():
        return f"; they cannot be made {kind}: name a data set that is"
    if data.path.endswith(".npz"):
        return (
            f"; a .npz is taken as it is: store its images as {kind} ones, of {channels} channel(s)"
        )
    side = f" --stream {height}" if card.streamed else f" --resize {height}" if square else ""
    share = card.made.get("test_share")
    also = f" --card {data.card}" if data.card else ""
    also += f" --test-share {share}" if share else ""
    return (
        f"; make its card again: kdpipe data {data.path} --name {data.name}{also} "
        f"--channels {channels}{side}"
    )


def _as_sizes(sizes: list[list[int]]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes) or "no groups"


def _twice(values: list) -> list[str]:
    """The values that stand more than once, as a message shows them."""
    count = Counter(value if isinstance(value, str) else shown(value) for value in values)
    return [value for value in count if count[value] > 1]


def _named(block: dict) -> bool:
    return isinstance(block.get("name"), str)
