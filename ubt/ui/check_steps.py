"""The steps of checking one's own model: pairs, model, reference, labels, and a summary of what it will take and tell.

Each step is a part of the page that says in its title what it has and whether it is complete. What was chosen is in the
address, and what was imported is in the cache, so that a reload loses nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.ui import check_reference, check_summary, ingest_form, ingested, query_params, server
from ubt.ui.errors import guard, plain
from ubt.ui.ingest_form import Slot
from ubt.ui.view import import_name, read, store
from ubt.workflows.audit import LEAST
from ubt.workflows.prospects import counts

FOLDS = check_reference.FOLDS
SLOTS = {
    "pairs": Slot("pairs", "pairs"),
    "model": Slot("suspect", "model", "suspect"),
    "reference": Slot("reference", "model", "clean"),
    "labels": Slot("labelled", "labelled"),
}
"""Where each step imports, by the step's name, which is also its parameter of the address."""
BADGES = {
    "complete": ":green-badge[:material/check: complete]",
    "missing": ":orange-badge[:material/pending: missing]",
    "unknown": ":orange-badge[:material/help: health not known yet]",
    "optional": ":gray-badge[optional]",
    "bad": ":red-badge[:material/error: no verdict with it]",
    "waits": ":gray-badge[waits for the steps above]",
    "ready": ":blue-badge[:material/play_arrow: ready to run]",
}


@dataclass(frozen=True)
class Chosen:
    """What was chosen, by its name in the store; empty for nothing. `reference` may be `FOLDS`."""

    pairs: str
    model: str
    reference: str
    labels: str

    @property
    def missing(self) -> list[str]:
        """The steps that have to be complete and are not; too few pairs are none."""
        complete = {"pairs": self.enough, "model": bool(self.model), "reference": bool(self.reference)}
        return [name for name, there in complete.items() if not there]

    @property
    def enough(self) -> bool:
        """Whether there are pairs, and as many as an audit needs."""
        return bool(self.pairs) and read(self.pairs, "about")["kept"] >= LEAST


def draw() -> None:
    """The whole journey."""
    offered = _offered()
    chosen = Chosen(**{name: _resolved(name, *offered[name]) for name in SLOTS})
    badge, said = check_reference.title(chosen.reference, chosen.pairs, chosen.model, chosen.labels)
    _where_it_stands(chosen, badge == "bad")
    _pairs(chosen, offered["pairs"][0])
    _model(chosen, offered["model"][0])
    _reference(chosen, offered["reference"][0], badge, said)
    _labels(chosen, offered["labels"][0])
    _summary(chosen)


def _offered() -> dict[str, tuple[list[str], str]]:
    """What can be chosen in each step, and what it starts with: the newest, but nothing where others import too."""
    models = {key: read(key, "card")["state"] for key in ingested.keys("model")}
    suspects = sorted(models, key=lambda key: models[key] == "clean")
    clean = [key for key in models if models[key] == "clean"]
    first = next((key for key in suspects if models[key] != "clean"), "")
    pairs, labelled = ingested.keys("pairs"), ingested.keys("labelled")
    starts = ("", "", "") if server.shared() else (next(iter(pairs), ""), first, next(iter(clean), ""))
    return {
        "pairs": (pairs, starts[0]),
        "model": (suspects, starts[1]),
        "reference": ([*clean, FOLDS, *(key for key in models if key not in clean)], starts[2]),
        "labels": (["", *labelled], ""),
    }


def _resolved(name: str, options: list[str], start: str) -> str:
    """What a step has: what a link says, what has just been imported for it, what was chosen, or what it starts with.
    The address shows it.
    """
    state, key = st.session_state, f"check-{name}"
    if (wanted := query_params.read(name)) in options:
        state[key] = wanted
    for place in (SLOTS[name].name, *([check_reference.TRAINED] if name == "reference" else [])):
        if (new := state.pop(f"imported-{place}", None)) in options:
            state[key] = new
            check_reference.look_at(name, new)
    if state.get(key) not in options:
        state[key] = start if start in options else None
    query_params.write(name, state[key] or "")
    return state[key] or ""


def _where_it_stands(chosen: Chosen, unfit: bool) -> None:
    """How many steps are complete, and what comes next; `unfit`: the reference is there and of no use."""
    left = chosen.missing
    done = 3 - len(left) - unfit
    if left:
        said = f"**{done} of 3 complete.** Next: {left[0]}."
    elif unfit:
        said = f"**{done} of 3 complete.** Next: another reference; with this one there is no verdict."
    else:
        said = "**All there.** Look at the summary, then run."
    st.progress(done / 3, text=said)


def _step(number: int, title: str, said: str, badge: str, body: Callable[[], None], opened: bool) -> None:
    with st.expander(f"**{number} · {title}** {BADGES[badge]} {said}", expanded=opened), guard():
        body()


def _choose(name: str, title: str, options: Sequence[str], label: Callable[[str], str] = ingested.label) -> None:
    """Choose what was imported before; what is chosen is in the session's state, see `_resolved`."""
    if any(options):
        st.selectbox(
            title,
            options,
            index=None,
            key=f"check-{name}",
            format_func=label,
            placeholder="choose one, or bring another below",
            persist_state="session",
        )


def _bring(name: str) -> None:
    """Import something for a step; the page is drawn again as soon as it is there."""
    if ingest_form.form(SLOTS[name]):
        st.rerun()


def _pairs(chosen: Chosen, options: list[str]) -> None:
    said, badge = "the image-caption pairs that the model was trained on", "missing"
    if chosen.pairs:
        found = counts(store().imported(chosen.pairs))
        odd = [
            f"{found[n]:,} {n}" if found[n] is not None else f"{n} not counted" for n in ("broken", "duplicate", "tiny")
        ]
        used = f"{found['used']:,} of {found['read']:,} pairs can be used"
        said = f"{plain(import_name(chosen.pairs))}: {used} · {' · '.join(odd)}"
        badge = "complete" if chosen.enough else "missing"

    def body() -> None:
        _choose("pairs", "Imported pairs", options)
        if chosen.pairs and badge == "missing":
            raise BadInput(f"expected at least {LEAST} pairs that can be used; bring more below")
        _bring("pairs")
        if chosen.pairs:
            st.divider()
            ingested.rows(chosen.pairs, "pairs")

    _step(1, "Pairs", said, badge, body, opened=badge == "missing")


def _model(chosen: Chosen, options: list[str]) -> None:
    said = _card_line(chosen.model) if chosen.model else "the model to check: a CLIP that was trained on them"

    def body() -> None:
        _choose("model", "Imported models", options)
        _bring("model")
        if chosen.model:
            st.divider()
            ingested.card(read(chosen.model, "card"), chosen.model)

    opened = not chosen.model and bool(chosen.pairs)
    _step(2, "Model", said, "complete" if chosen.model else "missing", body, opened)


def _card_line(key: str) -> str:
    card = read(key, "card")
    return f"{plain(card['name'])}: {plain(card['architecture'])}"


def _reference(chosen: Chosen, options: list[str], badge: str, said: str) -> None:
    def body() -> None:
        st.caption(
            "A clean CLIP that knows such images and captions, for example a public one (ViT-B-32-quickgelu/openai). It"
            " says where images belong; what the model moves from there is suspicious."
        )
        same = read(chosen.model, "card")["digest"] if chosen.model else ""
        others = [o for o in options if o == FOLDS or read(o, "card")["digest"] != same or o == chosen.reference]
        _choose(
            "reference", "Clean reference", others, lambda o: check_reference.NONE if o == FOLDS else ingested.label(o)
        )
        check_reference.health(chosen.reference, chosen.pairs, chosen.labels)
        check_reference.ways(chosen.reference, chosen.pairs, chosen.model, chosen.labels, lambda: _bring("reference"))

    opened = badge in ("bad", "unknown") or (badge == "missing" and bool(chosen.pairs and chosen.model))
    _step(3, "Reference", said, badge, body, opened)


def _labels(chosen: Chosen, options: list[str]) -> None:
    said = "labelled images; without them CA is not measured, nor the reference's accuracy"
    if chosen.labels:
        said = plain(ingested.label(chosen.labels))

    def body() -> None:
        st.caption(
            "Images with their class (labels.csv and, if labels are numbers, classes.txt). With them the result says CA"
            " before and after, and whether the reference recognises such images. They do not influence the"
            " verdict. Without them you see"
            " only how far answers before and after agree."
        )
        _choose("labels", "Imported labelled images", options)
        _bring("labels")
        if chosen.labels:
            st.divider()
            ingested.rows(chosen.labels, "labelled")

    _step(4, "Labels", said, "complete" if chosen.labels else "optional", body, opened=False)


def _summary(chosen: Chosen) -> None:
    left = chosen.missing

    def body() -> None:
        if left:
            st.info(f"Still missing: {', '.join(left)}. Open the step above.")
            return
        reference = "" if chosen.reference == FOLDS else chosen.reference
        name = f"check-{digest([chosen.pairs, chosen.model, reference, chosen.labels])}"
        check_summary.draw(chosen.pairs, chosen.model, reference, chosen.labels, name)

    said = "what it will take, what the verdict can say and what not"
    _step(5, "Summary and run", said, "waits" if left else "ready", body, opened=not left)
