"""The documents that the package holds, `ubt/docs/*.md`: their generated parts, their sections, and what is found in
them.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. `python -m ubt docs --write` makes all of
them anew; what is written between the marks by hand is lost.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ubt
from ubt.core.errors import BadInput
from ubt.core.files import replace_file

FOLDER = Path(ubt.__file__).parent / "docs"
TITLES = {"reference": "Reference", "measured": "Measured", "contributing": "Contributing"}
"""The documents, by name."""
_GENERATED = re.compile(r"(<!-- generated: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.S)
_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!\w+:)(?P<file>[^)#]*)#?(?P<part>[^)]*)\)")
_HEADING = re.compile(r"(#{1,6}) (.+)")


@dataclass(frozen=True)
class Section:
    """A part of a document under a heading of its own: `path` are the headings it stands under, its own last; `anchor`
    is what links call it; `text` is Markdown, without its heading and without what stands under deeper ones.
    """

    document: str
    path: tuple[str, ...]
    anchor: str
    text: str

    @property
    def title(self) -> str:
        """Its own heading."""
        return self.path[-1]


@dataclass(frozen=True)
class Hit:
    """A section in which everything that was asked for stands: in its heading, or together in some `paragraphs`."""

    section: Section
    heading: bool
    paragraphs: tuple[str, ...]


@cache
def glossary() -> dict[str, str]:
    """Each term of the field, and what it means, in a sentence or two."""
    return tomllib.loads((FOLDER / "glossary.toml").read_text(encoding="utf-8"))


def read(name: str) -> str:
    """A document's text.

    Raises:
        BadInput: there is no such document.
    """
    if name not in TITLES:
        raise BadInput(f"unknown document {name!r}; expected one of: {', '.join(TITLES)}")
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


def write(name: str, text: str) -> None:
    """Replace a document's text, in one step."""
    replace_file(FOLDER / f"{name}.md", lambda path: path.write_text(text, encoding="utf-8"))


def filled(text: str, tables: Mapping[str, Callable[[], Sequence[str]]]) -> str:
    """A document with its generated parts made anew; `tables`: their lines, by name.

    >>> print(filled("<!-- generated: a -->\\nold\\n<!-- end -->\\n", {"a": lambda: ["| new |"]}), end="")
    <!-- generated: a -->
    | new |
    <!-- end -->

    Raises:
        BadInput: a part has a name that none of the tables has.
    """

    def made(match: re.Match[str]) -> str:
        if match["name"] not in tables:
            raise BadInput(f"generated part {match['name']!r}: expected one of: {', '.join(tables)}")
        return "\n".join([match[1].rstrip("\n"), *tables[match["name"]](), match[3]])

    return _GENERATED.sub(made, text)


def anchor(heading: str) -> str:
    """What a link calls a heading, as on GitHub: small letters, blanks to hyphens, other signs left out.

    >>> anchor("Limits, in detail")
    'limits-in-detail'
    """
    return re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")


def sections(name: str) -> list[Section]:
    """A document's sections, in order. Headings in code blocks are code.

    Raises:
        BadInput: there is no such document.
    """
    found: list[Section] = []
    path: list[str] = []
    lines: list[str] = []
    fenced = False

    def close() -> None:
        if path:
            found.append(Section(name, tuple(path), anchor(path[-1]), "\n".join(lines).strip()))

    for line in read(name).splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (heading := _HEADING.fullmatch(line)):
            close()
            path, lines = [*path[: len(heading[1]) - 1], heading[2]], []
        elif not (line.startswith("<!-- ") and line.endswith(" -->")):
            lines.append(line)
    close()
    return found


def part(name: str, wanted: str) -> str:
    """A section with all that stands under its deeper headings, as Markdown; of a whole document's heading only what
    stands before the next one.

    Raises:
        BadInput: there is no such document, or it has no such section.
    """
    known = sections(name)
    at = next((i for i, s in enumerate(known) if s.anchor == wanted), None)
    if at is None:
        raise BadInput(f"{name}: expected a section of it, got {wanted!r}")
    first, found = known[at], []
    for section in known[at:]:
        if section is not first and (len(first.path) == 1 or section.path[: len(first.path)] != first.path):
            break
        found += [f"{'#' * len(section.path)} {section.title}", section.text]
    return "\n\n".join(found)


def linked(text: str, name: str, address: Callable[[str, str], str]) -> str:
    """Markdown of a document with its links to documents as `address(document, anchor)` writes them. A link to any
    other file, which the package does not hold, is left out, its text stays.

    >>> linked("see [it](measured.md#speed), [there](#a) and [R](../../README.md)", "reference", "?{}&{}".format)
    'see [it](?measured&speed), [there](?reference&a) and R'
    """

    def made(match: re.Match[str]) -> str:
        document = match["file"].removesuffix(".md") or name
        if document not in TITLES:
            return match["text"]
        return f"[{match['text']}]({address(document, match['part'] or sections(document)[0].anchor)})"

    return _LINK.sub(made, text)


def search(wanted: str) -> list[Hit]:
    """The sections in which all the words asked for stand, in any case and order: in the heading, which comes first, or
    in one paragraph, list item or row of a table. Nothing is found by nothing.
    """
    words = wanted.casefold().split()

    def holds(text: str) -> bool:
        return bool(words) and all(word in text.casefold() for word in words)

    every = (section for name in TITLES for section in sections(name))
    hits = [Hit(s, holds(s.title), tuple(filter(holds, _paragraphs(s.text)))) for s in every]
    return sorted((hit for hit in hits if hit.heading or hit.paragraphs), key=lambda hit: not hit.heading)


def excerpt(text: str, wanted: str, length: int = 240) -> str:
    """The part of a paragraph around the first of the words asked for, without Markdown's marks.

    >>> excerpt("**The** [score](#verdict) is `high`", "score")
    'The score is high'
    """
    bare = re.sub(r"[`*]", "", _LINK.sub(r"\g<text>", text))
    at = min((bare.casefold().find(word) for word in wanted.casefold().split()), default=0)
    start = bare.rfind(" ", 0, max(1, at - length // 3)) + 1
    end = bare.rfind(" ", 0, start + length) if start + length < len(bare) else len(bare)
    return f"{'… ' if start else ''}{bare[start:end]}{' …' if end < len(bare) else ''}"


def _paragraphs(text: str) -> list[str]:
    """Paragraphs, list items and rows of tables, each for itself, without the marks of a table."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=[-|*] |\d+\. )", text):
        if not re.fullmatch(r"[\s|:-]*", block) and not block.startswith("```"):
            found.append(" ".join(block.strip().removeprefix("- ").strip("|").replace(" | ", " · ").split()))
    return found
