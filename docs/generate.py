"""Write the pages of docs/reference that are what the code says of itself; a test compares.

    python docs/generate.py

The keys of a study come from its model, commands from the parser of the command line, names and
claims from the files of the listed folders. What is to be said of one of these is said there.
"""

import sys
from pathlib import Path

from pages import commands, keys, names

from kdpipe.runs.files import write_bytes

FOLDER = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/generate.py from what the code says of itself: change it there. -->\n"
PAGES = {
    "study.md": keys.study,
    "commands.md": commands.commands,
    "names.md": names.names,
    "claims.md": names.claim_page,
}


def pages() -> dict[str, str]:
    """The text of every page by the name of its file."""
    return {name: MADE + "\n".join(lines()).rstrip() + "\n" for name, lines in PAGES.items()}


if __name__ == "__main__":
    for name, text in pages().items():
        write_bytes(FOLDER / name, text.encode())
    print(f"{FOLDER}: {', '.join(PAGES)}", file=sys.stderr)
