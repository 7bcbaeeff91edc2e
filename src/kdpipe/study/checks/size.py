"""How much a study asks for: no more than can be planned."""

from collections.abc import Iterator

from kdpipe.study.check import Check
from kdpipe.study.size import Size
from kdpipe.study.sound import Sound

MAX_RUNS = 100_000  # a plan of 10,000 takes a second or two


def _size(sound: Sound) -> Iterator[str]:
    count = Size(sound).runs()
    if count > MAX_RUNS:
        yield (
            f"this study asks for about {count:,} runs, and at most {MAX_RUNS:,} can be "
            "planned: make its lists shorter"
        )


CHECK = Check(120, _size, last=True)
