"""Ensembles: their networks, stops, block, and the ensemble whose operations they take."""

from collections.abc import Iterator

from kdpipe.study.check import Check
from kdpipe.study.sound import Sound
from kdpipe.wording import twice


def _ensembles(sound: Sound) -> Iterator[str]:
    for name, ensemble in sound.ensembles.items():
        where = f"ensembles.{name}"
        brought = [one for one in ensemble.networks or [] if one in sound.defined["pretrained"]]
        if brought and (ensemble.stops != ["full"] or ensemble.copies or ensemble.operations_of):
            yield (
                f"{where}.networks: {brought[0]} is pretrained, and has no stops but full and no "
                "copies: give networks alone"
            )
        for network in ensemble.networks or []:
            if network in brought:
                continue
            yield from sound.follow_network(f"{where}.networks", network)
            for text in ensemble.stops:
                yield from sound.follow_stop(f"{where}.stops", text, network)
        for network in twice(ensemble.networks or []):
            yield f"{where}.networks: {network} stands twice; copies makes more of a network"
        yield from sound.follow(f"{where}.block", ensemble.block, "experiment")
        yield from sound.follow(f"{where}.operations_of", ensemble.operations_of, "ensemble")


CHECK = Check(50, _ensembles)
