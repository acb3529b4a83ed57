"""The documents that the package holds, `ubt/docs/*.md`: their generated parts, their sections, and what is found in
them.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. `python -m ubt docs --write` makes all of
them anew; what is written between the marks by hand is lost.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ubt
from ubt.core.errors import BadInput
from ubt.core.files import replace_file

FOLDER = Path(ubt.__file__).parent / "docs"
TITLES = {"reference": "Reference", "measured": "Measured", "contributing": "Contributing"}
"""The documents, by name."""
_GENERATED = re.compile(r"(<!-- generated: (?P<name>[^>]+?) -->\n).*?(<!-- end -->)", re.S)
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
    """A place where everything that was asked for stands: the section, and the paragraph in it (empty: its heading)."""

    section: Section
    paragraph: str


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


def search(wanted: str) -> list[Hit]:
    """Where all the words asked for stand, in any case and order: in a heading, which comes first, or in one paragraph
    or row of a table. Nothing is asked for by nothing.
    """
    words = wanted.casefold().split()
    headings: list[Hit] = []
    paragraphs: list[Hit] = []
    for section in (s for name in TITLES for s in sections(name)):
        if words and all(word in section.title.casefold() for word in words):
            headings.append(Hit(section, ""))
        for paragraph in _paragraphs(section.text):
            if words and all(word in paragraph.casefold() for word in words):
                paragraphs.append(Hit(section, paragraph))
    return headings + paragraphs


def _paragraphs(text: str) -> list[str]:
    """Paragraphs, list items and rows of tables, each for itself, without the marks of a table."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=[-|*] |\d+\. )", text):
        if not re.fullmatch(r"[\s|:-]*", block) and not block.startswith("```"):
            found.append(" ".join(block.strip().strip("|").replace(" | ", " · ").split()))
    return found
