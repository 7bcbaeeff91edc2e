"""Ensembles: their networks, stops, block, and the ensemble whose operations they take."""

from collections.abc import Iterator

from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import twice


def _ensembles(sound: Sound) -> Iterator[str]:
    for name, ensemble in sound.ensembles.items():
        where = f"ensembles.{name}"
        for network in ensemble.networks or []:
            yield from sound.follow_network(f"{where}.networks", network)
            for text in ensemble.stops:
                yield from sound.follow_stop(f"{where}.stops", text, network)
        for network in twice(ensemble.networks or []):
            yield f"{where}.networks: {network} stands twice; copies makes more of a network"
        yield from sound.follow(f"{where}.block", ensemble.block, "experiment")
        yield from sound.follow(f"{where}.operations_of", ensemble.operations_of, "ensemble")


CHECK = Check(50, _ensembles)
