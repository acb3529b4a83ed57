"""The parameters of the address bar: a link's are read, and what a page shows is written, so that a copied address
opens the same view.
"""

import math
from collections.abc import Callable, Container, Mapping, Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from ubt.ui import stale
from ubt.ui.view import View

LONGEST = 6000
"""Characters that an address may hold under one name; servers refuse much longer ones."""


def read(name: str) -> str | None:
    """A parameter's value, if a link has been followed: it is neither the one that was written last nor one that the
    browser sends because it has not read the new address yet. A link without this parameter, as those between pages,
    changes nothing. Streamlit follows links by a run of the whole page, so a run of a fragment alone never follows one.
    """
    state, text = st.session_state, st.query_params.get(name)
    if not text or text == live().get(name):
        return None
    if (state.get(f"known-{name}") and in_fragment()) or stale.is_stale(name, text):
        return None
    live()[name], state[f"known-{name}"] = text, True
    return text


def in_fragment() -> bool:
    """Whether this run is one of a fragment alone."""
    context = get_script_run_ctx()
    return bool(context and context.fragment_ids_this_run)


def write(name: str, text: str, shown: bool = True) -> None:
    """Set a parameter. The address shows it unless it is empty, too long, or the default (`shown` is false). What the
    browser has sent may be an address of before the last one that was written: a new text is always told to it.
    """
    state = st.session_state
    if replaced := (last := live().get(name)) not in (text, None):
        stale.replaced(name, last)
    live()[name], state[f"known-{name}"] = text, True
    if text and shown and len(text) <= LONGEST:
        if replaced or st.query_params.get(name) != text:
            st.query_params[name] = text
    elif name in st.query_params:
        del st.query_params[name]
    elif replaced:
        st.query_params.update({})


def live() -> dict[str, str]:
    """Every parameter that was read or written last, empty ones too. The same dictionary all session long, so that it
    still tells what is on the screen after the page was drawn.
    """
    return st.session_state.setdefault("written", {})


def written() -> dict[str, str]:
    """Every parameter that was written, also those that the address does not show, so that a view can restore all."""
    return {name: text for name, text in live().items() if text}


def clear(*names: str) -> None:
    """Remove parameters from the address, and forget what was written."""
    for name in names:
        live().pop(name, None)
        st.session_state.pop(f"replaced-{name}", None)
        st.query_params.pop(name, None)


def slider(
    where,
    title: str,
    name: str,
    view: View,
    low: float,
    high: float,
    start: float,
    step: float,
    about: str,
    disabled: bool = False,
    possible: tuple[float, float] | None = None,
) -> float:
    """A slider whose value is a parameter of the address while it is not the default; each case has its own, and a
    link's impossible values are ignored. One that was not moved follows its default when that changes; while one is
    being moved, the address still has the value before.

    Args:
        possible: the values that a link may ask for, where they are more than the slider shows; its nearest is taken.
    """
    if disabled:
        return where.slider(
            title, low, high, start, step=step, key=f"{name}-{view.name}-off", help=about, disabled=True
        )
    key, state = f"{name}-{view.name}", st.session_state
    wanted = stale.kept(key, start)
    moved = key in state and live().get(name) not in (None, f"{wanted:g}")
    if not moved and (text := read(name)):
        wanted = _number(text, *(possible or (low, high)), start)
    elif wanted == state.get(f"start-{key}"):
        wanted = start
    wanted = min(max(wanted, low), high)
    stale.put(key, wanted)  # only where it differs: writing it overrides a slider that is still being moved
    state[f"start-{key}"] = start
    value = where.slider(title, low, high, step=step, key=key, help=about, persist_state="session")
    write(name, f"{value:g}", shown=value != start)
    return value


def _number(text: str, low: float, high: float, start: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return start
    return type(start)(value) if math.isfinite(value) and low <= value <= high else start


def several(
    title: str,
    name: str,
    options: Sequence[str],
    start: Sequence[str],
    label: Callable[[str], str],
    about: str = "",
    renamed: Callable[[str], str] = str,
) -> list[str]:
    """A choice of several, a parameter of the address, separated by commas, while it is not the default; a link's
    unknown names are ignored. One that was not changed follows its default when that changes. `renamed`: what a name in
    an old link is called now.
    """
    state, text = st.session_state, read(name)
    if text is not None:
        wanted = [renamed(o) for o in text.split(",")]
    elif name not in state or state[name] == state.get(f"start-{name}"):
        wanted = start
    else:
        wanted = stale.kept(name)
    stale.put(name, [o for o in wanted if o in options])
    state[f"start-{name}"] = list(start)
    chosen = st.multiselect(title, options, key=name, format_func=label, help=about or None, persist_state="session")
    write(name, ",".join(chosen), shown=chosen != list(start))
    return chosen


def ticked(
    name: str,
    options: Sequence[str],
    start: Sequence[str],
    titles: Mapping[str, str],
    greyed: Container[str],
    abouts: Mapping[str, str],
    columns: int = 2,
) -> list[str]:
    """The same as boxes to tick, in columns; those that are `greyed` cannot be. `titles` may hold Markdown; `abouts`:
    the help of some.
    """
    state, text, keys = st.session_state, read(name), {o: f"{name}-{o}" for o in options}
    before = state.get(f"ticked-{name}", ())
    left = [o for o in options if o not in greyed and stale.kept(keys[o], o in before)]
    if text is not None:
        wanted: Sequence[str] = text.split(",")
    else:
        wanted = start if left == state.get(f"start-{name}", left) else left
    found, places = [], [column.container(gap="xxsmall") for column in st.columns(columns)]
    for n, option in enumerate(options):
        stale.put(keys[option], option in wanted and option not in greyed)
        more = {"key": keys[option], "help": abouts.get(option) or None, "persist_state": "session"}
        place = places[n * columns // len(options)]
        if place.checkbox(titles[option], disabled=option in greyed, **more) and option not in greyed:
            found.append(option)
    state[f"start-{name}"], state[f"ticked-{name}"] = list(start), found
    write(name, ",".join(found), shown=found != list(start))
    return found
