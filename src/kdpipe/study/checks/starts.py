"""Networks that begin from weights: the network is there, and so are its weights."""

from collections.abc import Iterator

from kdpipe.study import salvage
from kdpipe.study.check import Check
from kdpipe.study.checks import pretrained
from kdpipe.study.sound import Sound


def _starts(sound: Sound) -> Iterator[str]:
    for name, start in sound.starts.items():
        where = f"starts.{name}"
        if start.network in sound.starts:
            yield f"{where}.network: {start.network} is one of `starts` itself: name its network"
        elif not salvage.lost(start) & {"network", "weights", "path", "sha256"}:
            yield from sound.follow_network(f"{where}.network", start.network)
            yield from pretrained.files(where, start)


CHECK = Check(62, _starts)
