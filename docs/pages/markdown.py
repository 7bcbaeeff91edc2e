"""Tables, cells and paragraphs that read as Markdown on a forge and in Sphinx."""

from collections.abc import Iterable, Iterator


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = tuple(heads)
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def cell(text: str) -> str:
    """On one line of a table."""
    return line(text).replace("|", "\\|")


def line(text: str) -> str:
    """On one line, no < of it taken for HTML."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def paragraphs(text: str) -> str:
    """A docstring: what is set in by four stays as it is, a formula."""
    return "\n\n".join(
        part if part.startswith("    ") else line(part) for part in text.split("\n\n")
    )


def code(spelling: str) -> str:
    """`wrn<depth>-<width>`: the form in code, the words as they are."""
    words = [f"`{word}`" if "<" in word else word for word in spelling.split(" ")]
    return " ".join(words).replace(",`", "`,")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
