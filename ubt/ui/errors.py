"""Errors on the page: text is escaped, and no traceback reaches the browser."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator

import streamlit as st

from ubt.cases.artifact import DamagedArtefact, is_imported
from ubt.core.errors import UbtError
from ubt.core.files import disk_full
from ubt.core.log import log


def plain(text: object) -> str:
    """Text that Markdown shows as it is: captions, names and paths may hold anything.

    >>> plain("a *b* [c](http://d)")
    'a \\\\*b\\\\* \\\\[c\\\\]\\\\(http\\\\:\\\\/\\\\/d\\\\)'
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", str(text)).replace("\n", " ")


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Errors inside become one message on the page: what was expected, what came, what to do."""
    try:
        yield
    except DamagedArtefact as e:
        _offer_repair(e)
    except UbtError as e:
        st.error(plain(e), icon=":material/error:")
    except Exception as e:
        if disk_full(e):
            st.error(
                "Expected free space for the cache, but the disk is full. Delete cases you no longer need, or free"
                " space elsewhere, and try again."
            )
            return
        log.exception("unexpected error")
        st.error(
            f"Something unexpected went wrong ({plain(type(e).__name__)}). What is finished is kept; the terminal of"
            " the app has the details."
        )


def safe(callback: Callable[..., None]) -> Callable[..., None]:
    """A widget's callback whose errors are shown on the page drawn next, by `show_failure`; a callback runs outside any
    `guard`.
    """

    @functools.wraps(callback)
    def run(*args: object, **kwargs: object) -> None:
        try:
            callback(*args, **kwargs)
        except UbtError as e:
            st.session_state["failed"] = str(e)
        except Exception as e:
            log.exception("unexpected error")
            st.session_state["failed"] = (
                f"something unexpected went wrong ({type(e).__name__}); the terminal of the app has the details"
            )

    return run


def show_failure() -> None:
    """Show the error of the last callback."""
    if failed := st.session_state.pop("failed", None):
        st.error(plain(failed), icon=":material/error:")


def _offer_repair(e: DamagedArtefact) -> None:
    from ubt.ui import costs
    from ubt.ui.view import store
    from ubt.workflows import jobs

    st.error(plain(e), title="A result on disk is damaged", icon=":material/broken_image:")
    name = st.session_state.get("case")
    if is_imported(e.key) or name not in store().names():
        return
    again = "Set it aside and make it again"
    if costs.button(
        again, costs.of_case(name, damaged=e.key), f"mend-{e.key}", type="primary", icon=":material/build:"
    ):
        with store().lock(e.key, wait=1):
            store().set_aside(e.key)
        jobs.start(store(), name)
        st.rerun()
