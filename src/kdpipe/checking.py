"""Loading a study: every mistake of a file, found at once and before any job.

pydantic finds what is wrong with a key by itself; here the names are followed: networks that
exist and fit the images, methods, blocks and ensembles that are defined, epochs that lie within
the training, references that do not run in a circle. Sections that are malformed are left out
of this second look, so one mistake does not hide another.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from kdpipe import cards, documents, networks, stops
from kdpipe.documents import nearest
from kdpipe.errors import KdpipeError, StudyError
from kdpipe.study import TABLES, Block, Data, Ensemble, Method, Recipe, Study


def load(path: Path | str) -> Study:
    """The study in a YAML file. Raises StudyError with every mistake of the file."""
    return validate(documents.read(path), str(path))


def validate(content: object, source: str) -> Study:
    """The study in a mapping. Raises StudyError with every mistake; `source` names it."""
    mistakes: list[str] = []
    study = None
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        mistakes += documents.explain(error, content, Study)
    if isinstance(content, dict):
        mistakes += _followed(content)
    if mistakes or study is None:
        lines = list(dict.fromkeys(mistakes))
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise StudyError("\n  ".join([f"{source}: {count}", *lines]))
    return study


def _followed(content: dict) -> Iterator[str]:
    """Mistakes in what the names of a study refer to."""
    look = _Look(content)
    yield from look.names()
    yield from look.data()
    yield from look.recipes()
    yield from look.ensembles()
    for index, block in look.blocks.items():
        yield from look.block(f"experiments[{index}]", block)
    yield from look.circles()
    yield from look.tables()


class _Look:
    """The well-formed parts of a study, and the questions asked of them."""

    def __init__(self, content: dict):
        self.content = content
        self.recipe: Recipe | None = _part(Recipe, content.get("recipe"))
        self.card = None
        data = _part(Data, content.get("data"))
        if data is not None and data.name in cards.known():
            self.card = cards.load(data.name)
        self.data_part = data
        self.methods: dict[str, Method] = _parts(Method, content.get("methods"))
        self.ensemble_parts: dict[str, Ensemble] = _parts(Ensemble, content.get("ensembles"))
        experiments = content.get("experiments")
        self.blocks: dict[int, Block] = _parts(
            Block, dict(enumerate(experiments)) if isinstance(experiments, list) else None
        )
        self.block_names = _names(experiments)
        self.ensemble_names = [str(name) for name in _keys(content.get("ensembles"))]
        self.method_names = [str(name) for name in _keys(content.get("methods"))]

    def names(self) -> Iterator[str]:
        seen: dict[str, str] = {}
        places = [(f"experiments[{i}].name", name) for i, name in enumerate(self.block_names)]
        places += [(f"ensembles.{name}", name) for name in self.ensemble_names]
        for where, name in places:
            if name in seen:
                yield f"{where}: the name {name} is taken by {seen[name]}; each needs its own"
            elif name == "self" or _is_network(name):
                yield f"{where}: {name} means a network here; take another name"
            seen.setdefault(name, where)
        for where, seeds in [("seeds", self.content.get("seeds"))] + [
            (f"experiments[{i}].seeds", block.seeds) for i, block in self.blocks.items()
        ]:
            if isinstance(seeds, list) and len(set(map(str, seeds))) < len(seeds):
                yield f"{where}: a seed stands twice in {seeds}"

    def data(self) -> Iterator[str]:
        data = self.data_part
        if data is None:
            return
        if self.card is None:
            known = cards.known()
            yield (
                f"data.name: {data.name} has no card{nearest(data.name, known)} "
                f"(known: {', '.join(known)})"
            )
            return
        wanted = (data.train_size or 0) + data.validation
        if wanted > self.card.train or data.validation >= self.card.train:
            yield (
                f"data: train_size {data.train_size} and validation {data.validation} together "
                f"exceed the {self.card.train:,} training images of {data.name}"
            )
        height, width = self.card.shape[1:]
        if data.padding == "reflect" and data.pad >= min(height, width):
            yield f"data.pad: {data.pad} pixels cannot be reflected in images of {height}x{width}"

    def recipes(self) -> Iterator[str]:
        changes = self.content.get("network_recipes")
        if not isinstance(changes, dict) or self.recipe is None:
            return
        for network, change in changes.items():
            where = f"network_recipes.{network}"
            yield from self.network(where, network)
            if not isinstance(change, dict):
                continue
            merged = {**self.recipe.model_dump(), **change}
            try:
                Recipe.model_validate(merged)
            except ValidationError as error:
                for line in documents.explain(error, merged, Recipe):
                    yield f"{where}.{line}"

    def ensembles(self) -> Iterator[str]:
        for name, ensemble in self.ensemble_parts.items():
            where = f"ensembles.{name}"
            for network in ensemble.networks or []:
                yield from self.network(f"{where}.networks", network)
                for stop in ensemble.stops:
                    yield from self.stop(f"{where}.stops", stop, network)
            if ensemble.block is not None:
                yield from self.defined(f"{where}.block", ensemble.block, "block", self.block_names)
            if ensemble.operations_of is not None:
                yield from self.defined(
                    f"{where}.operations_of",
                    ensemble.operations_of,
                    "ensemble",
                    self.ensemble_names,
                )

    def block(self, where: str, block: Block) -> Iterator[str]:
        for network in [*block.students, *(block.via or [])]:
            yield from self.network(f"{where}.students", network)
        for teacher in block.teachers:
            yield from self.teacher(f"{where}.teachers", teacher, block)
        for method in block.methods:
            steps = [method] if isinstance(method, str) else method
            if not isinstance(method, str) and len(steps) != block.steps:
                yield (
                    f"{where}.methods: {method} names {len(steps)} methods, the block has "
                    f"{block.steps} step(s) (via and generations): give one for each step"
                )
            for name in steps:
                yield from self.defined(f"{where}.methods", name, "method", self.method_names)
                yield from self.kd_stop(where, name, block)
        for key in ("teachers", "students", "methods", "stops"):
            items = [str(item) for item in getattr(block, key)]
            for item in sorted({item for item in items if items.count(item) > 1}):
                yield f"{where}.{key}: {item} stands twice"

    def teacher(self, where: str, teacher: str, block: Block) -> Iterator[str]:
        if teacher in self.ensemble_names:
            if block.stops != ["full"]:
                yield f"{where}: {teacher} is an ensemble, which has no stops but full"
            return
        if teacher in self.block_names:
            for stop in block.stops:
                if stop.startswith("schedule"):
                    yield (
                        f"{where}: {teacher} is a block: its students cannot be trained again by "
                        f"{stop}; write `checkpoint E` or `full`"
                    )
            return
        networks_of = block.students if teacher == "self" else [teacher]
        if teacher != "self":
            defined = ["self", *self.block_names, *self.ensemble_names]
            for line in self.network(where, teacher):
                yield f"{line}; nor is it one of {', '.join(defined)}{nearest(teacher, defined)}"
        for network in networks_of:
            for stop in block.stops:
                yield from self.stop(f"{where[: where.rindex('.')]}.stops", stop, network)

    def network(self, where: str, name: str) -> Iterator[str]:
        try:
            networks.check(name, self.card.shape if self.card else (3, 224, 224))
        except KdpipeError as error:
            yield f"{where}: {error}"

    def stop(self, where: str, text: str, network: str) -> Iterator[str]:
        epochs = self.epochs_of(network)
        if epochs is not None:
            try:
                stops.parse(text, epochs)
            except KdpipeError as error:
                yield f"{where}: {error}"

    def kd_stop(self, where: str, name: str, block: Block) -> Iterator[str]:
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

    def epochs_of(self, network: str) -> int | None:
        changes = self.content.get("network_recipes")
        change = changes.get(network) if isinstance(changes, dict) else None
        epochs = change.get("epochs") if isinstance(change, dict) else None
        if isinstance(epochs, int):
            return epochs
        return self.recipe.epochs if self.recipe else None

    def defined(self, where: str, name: str, what: str, known: list[str]) -> Iterator[str]:
        if name not in known:
            yield (
                f"{where}: there is no {what} {name}{nearest(name, known)} "
                f"(defined: {', '.join(known) or 'none'})"
            )

    def circles(self) -> Iterator[str]:
        needs: dict[str, list[str]] = {}
        for block in self.blocks.values():
            needs.setdefault(block.name, []).extend(block.teachers)
        for name, ensemble in self.ensemble_parts.items():
            needs[name] = [n for n in (ensemble.block, ensemble.operations_of) if n]
        done: set[str] = set()
        for start in needs:
            path: list[str] = []
            stack = [(start, iter(needs[start]))]
            path.append(start)
            while stack:
                name, following = stack[-1]
                for other in following:
                    if other in path:
                        circle = [*path[path.index(other) :], other]
                        yield f"these need each other in a circle: {' -> '.join(circle)}"
                    elif other in needs and other not in done:
                        path.append(other)
                        stack.append((other, iter(needs[other])))
                        break
                else:
                    stack.pop()
                    path.pop()
                    done.add(name)

    def tables(self) -> Iterator[str]:
        tables = self.content.get("tables")
        for name, reads in tables.items() if isinstance(tables, dict) else ():
            if name not in TABLES:
                yield (
                    f"tables: there is no table {name}{nearest(name, TABLES)} "
                    f"(known: {', '.join(TABLES)})"
                )
            for source in reads if isinstance(reads, list) else ():
                known = [*self.block_names, *self.ensemble_names]
                yield from self.defined(f"tables.{name}", str(source), "block or ensemble", known)


def _part(model: type[BaseModel], value: object) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _parts(model: type[BaseModel], values: object) -> dict:
    items = values.items() if isinstance(values, dict) else ()
    found = {name: _part(model, value) for name, value in items}
    return {name: part for name, part in found.items() if part is not None}


def _names(experiments: object) -> list[str]:
    blocks = experiments if isinstance(experiments, list) else []
    return [block["name"] for block in blocks if isinstance(block, dict) and _is_text(block)]


def _is_network(name: str) -> bool:
    try:
        networks.parse(name)
    except KdpipeError:
        return False
    return True


def _is_text(block: dict) -> bool:
    return isinstance(block.get("name"), str)


def _keys(value: object) -> list:
    return list(value) if isinstance(value, dict) else []
