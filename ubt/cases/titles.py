"""What cases are called, so that each can be told from the others: by the attack, the seed, and the settings in which
they differ from the defaults and from each other, unless somebody gave them a title.
"""

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ubt.attacks import ATTACKS, parse
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.text import visible

FIRST, MORE = 2, 5
"""Settings that a title says, and those that it says at most where cases would share one."""
SAID = ("seed", "attack.name", "attack.rate", "attack.count", "attack.also", "own.pairs", "own.suspect")
"""Settings that every title begins with."""
LONGEST_VALUE = 28
"""Characters of a setting's value, at most."""

Called = Callable[[str], str]
"""What something imported is called, by its name in the store."""


@functools.cache
def _defaults(attack: str) -> dict[str, Any]:
    """The settings of a case with this attack that nobody changed."""
    try:
        return flat(CaseSettings.preset("demo", attack).to_dict())
    except BadInput:
        return flat(CaseSettings().to_dict())


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their dotted names, without the groups of attacks that are not the case's.

    >>> flat({"seed": 1, "split": {"fraction": 0.1}})
    {'seed': 1, 'split.fraction': 0.1}
    """
    attack, found = attack_of(settings), {}
    for group, values in settings.items():
        if not isinstance(values, Mapping):
            found[group] = values
        elif group not in ATTACKS or group == attack:
            found |= {f"{group}.{name}": value for name, value in values.items()}
    return found


def attack_of(settings: Mapping[str, Any]) -> str:
    """The name of a case's attack; empty where its settings say none, or it is an audit."""
    attack, own = settings.get("attack"), settings.get("own")
    if isinstance(own, Mapping) and own.get("suspect"):
        return ""
    return str(attack.get("name", "")) if isinstance(attack, Mapping) else ""


ALWAYS = {"seed", "data.pairs", "attack.name", "attack.rate"}
"""Settings that every case has had."""


@functools.lru_cache(maxsize=32)
def _unchanged(attack: str) -> dict[str, Any]:
    """Every setting of a case with this attack at its own default."""
    try:
        return flat(CaseSettings().with_values({"attack.name": attack}).to_dict())
    except BadInput:
        return flat(CaseSettings().to_dict())


def complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as `flat` gives them, with those that were added after a case was made, at their defaults; so they do
    not tell it from a case of today. Nothing is added to settings that lack what every case has had.
    """
    found = flat(settings)
    return {**_unchanged(attack_of(settings)), **found} if found.keys() >= ALWAYS else found


def differing(several: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of settings, each as `flat` gives them, that are not the same in all, in their order; of cases of
    different attacks not those of the attacks.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 1}])
    ['b', 'c']
    """
    several = list(several)
    names = dict.fromkeys(name for settings in several for name in settings)
    if len({settings.get("attack.name") for settings in several}) > 1:
        names = [name for name in names if name.split(".")[0] not in ATTACKS]
    return [name for name in names if any(s.get(name) != several[0].get(name) for s in several)]


def said(name: str, value: Any, called: Called = str) -> str:
    """A setting's value in few characters: a number without digits that say nothing, something imported by its name."""
    if name.startswith("own.") and isinstance(value, str) and "-" in value:
        value = called(value)
    if isinstance(value, float):
        return f"{value:.3g}" if value else "0"
    lines = str(value).split("\n")
    return visible(lines[0], LONGEST_VALUE) if len(lines) == 1 else f"({len(lines)})"


def _short(name: str, settings: Mapping[str, Any]) -> str:
    """A setting's name in a title: without its group where that is the attack, or what was imported."""
    group, _, rest = name.partition(".")
    return rest if rest and group in ("attack", "own", settings.get("attack.name")) else name


def _head(settings: Mapping[str, Any], called: Called) -> str:
    seed, pairs = f"seed {settings['seed']}", f"{settings['data.pairs']:,} pairs"
    if suspect := settings.get("own.suspect"):
        return f"audit of {visible(called(suspect), LONGEST_VALUE)}, {pairs}, {seed}"
    rate, count = settings["attack.rate"], settings.get("attack.count")
    further = f" + {len(parse(settings['attack.also']))}" if settings.get("attack.also") else ""
    amount = f"{count}" if count else f"{100 * rate:g} %"
    what = f"{settings['attack.name']} {amount}{further}" if rate or count or further else "clean"
    on = f" on {visible(called(own), LONGEST_VALUE)}" if (own := settings.get("own.pairs")) else ""
    return f"{what}{on}, {seed}"


def _changes(settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ from the defaults of the case's attack, those of the attack first. An import
    says how many pairs there are, and which labelled images.
    """
    defaults, attack = _defaults(settings.get("attack.name", "")), settings.get("attack.name")
    implied = {*SAID, *(("data.pairs", "own.test") if settings.get("own.pairs") else ())}
    found = [n for n, v in settings.items() if n not in implied and v != defaults.get(n)]
    if settings.get("own.suspect"):
        found = [n for n in found if not n.startswith("attack.")]
    return sorted(found, key=lambda n: n.split(".")[0] not in ("attack", attack, "own"))


def _title(settings: Mapping[str, Any], names: Iterable[str], more: bool, called: Called) -> str:
    parts = [f"{_short(n, settings)} {said(n, settings.get(n, 'none'), called)}" for n in names]
    told = ", ".join([*parts, *(["…"] if more else [])])
    return _head(settings, called) + (f" · {told}" if told else "")


def _apart(titles: dict[str, str], settings: Mapping[str, Mapping[str, Any]], called: Called) -> dict[str, str]:
    """The titles, by cases' names, where those that several share say in what these differ; a part of the name where
    that is nothing that a title says.
    """
    for same in _shared(titles):
        changes = {name: _changes(settings[name]) for name in same}
        apart = [n for n in differing(settings[name] for name in same) if n not in SAID]
        for name in same:
            named = list(dict.fromkeys([*(n for n in changes[name][:FIRST] if n not in apart), *apart]))
            titles[name] = _title(settings[name], named[:MORE], len({*named, *changes[name]}) > MORE, called)
    for same in _shared(titles):
        titles |= {name: f"{titles[name]} · {name[-8:]}" for name in same}
    return titles


def _shared(titles: Mapping[str, str]) -> list[list[str]]:
    """The cases that share a title with others."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, title in titles.items():
        found[title].append(name)
    return [same for same in found.values() if len(same) > 1]


def titles(records: Mapping[str, CaseRecord], given: Mapping[str, str], called: Called) -> dict[str, str]:
    """What each of some cases is called, no two alike.

    Args:
        records: by the cases' names. given: titles that somebody gave them; empty where nobody did. called: what
            something imported is called; a path or a model's name, which may hold anything.
    """
    found: dict[str, str] = {}
    made: dict[str, str] = {}
    own: dict[str, dict[str, Any]] = {}
    for name, record in records.items():
        if record.state == "outdated":
            found[name] = f"{name} (of an earlier version)"
        elif record.built_in:
            found[name] = f"built-in: {record.built_in.title}"
        else:
            found[name] = f"{name} (damaged)"
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, BadInput):
                settings = complete(record.settings)
                changes = _changes(settings)
                made[name] = _title(settings, changes[:FIRST], len(changes) > FIRST, called)
                own[name] = settings
    found |= _apart(made, own, called)
    found |= {name: visible(title) for name, title in given.items() if title and name in found}
    for same in _shared(found):
        found |= {name: f"{found[name]} ({name})" for name in same}
    return found
