"""What a scene is called: sentence forms, synonyms, attributes, relations.

A caption is chosen by numbers in [0, 1] that belong to the scene, so the same scene always has the same captions.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SAID = tomllib.loads(Path(__file__).with_name("captions.toml").read_text(encoding="utf-8"))
TEMPLATES, ONE, TWO, LOOSE = (tuple(_SAID[form]) for form in ("templates", "one", "two", "loose"))
"""The zero-shot templates, and the forms of captions of one object, of two, and of loose ones."""
BACKGROUNDS: dict[str, list[str]] = _SAID["backgrounds"]
"""What each background is called."""
SIZES = (("tiny", "small", "little"), ("big", "large", "huge"))


def with_article(name: str) -> str:
    """
    >>> with_article("apple"), with_article("banana"), with_article("scissors")
    ('an apple', 'a banana', 'scissors')
    """
    if name.split()[-1] in _SAID["plural"]:
        return name
    return ("an " if name[0] in "aeio" or name == "umbrella" else "a ") + name


def from_template(template: str, name: str) -> str:
    """A zero-shot prompt for class `name`.

    >>> from_template("a photo of {a}.", "owl")
    'a photo of an owl.'
    """
    return template.format(a=with_article(name), n=name)


@dataclass(frozen=True)
class Words:
    """What a caption may say of one object: class name, its kind (hypernym), colour, and how big it looks (0 to 1)."""

    name: str
    hyper: str
    colour: str
    size: float


def _pick(options, u: float):
    return options[min(int(u * len(options)), len(options) - 1)]


def _described(o: Words, u: float, v: float) -> str:
    """The object's name or a synonym, with a colour, a size, both, or neither."""
    name = _pick((o.name, o.name, *_SAID["synonyms"].get(o.name, (o.name,))), v)
    words = []
    if u > 0.75 and (o.size < 0.35 or o.size > 0.65):
        words.append(_pick(SIZES[int(o.size > 0.5)], (v * 7) % 1))
    if 0.4 < u < 0.92:
        words.append(o.colour)
    return " ".join([*words, name])


def caption(objects: list[Words], background: Sequence[str], relation: str, u) -> str:
    """One caption of a scene. `objects` holds one or two, main object first; `u` eight numbers in [0, 1]; `relation`
    says where the first is from the second.
    """
    main = objects[0]
    bg = _pick(background, u[0])
    if u[1] < 0.05:
        return _pick(LOOSE, u[2]).format(hyper=main.hyper, colour=main.colour, bg=bg)
    if len(objects) == 2 and u[1] < 0.85:
        a, b = (_described(o, u[3 + i], u[5 + i]) for i, o in enumerate(objects))
        return _pick(TWO, u[2]).format(A=with_article(a), B=with_article(b), bg=bg, rel=relation)
    if u[1] < 0.5:
        return from_template(_pick(TEMPLATES, u[2]), main.name)
    noun = _described(main, u[3], u[5])
    return _pick(ONE, u[2]).format(A=with_article(noun), N=noun, bg=bg)
