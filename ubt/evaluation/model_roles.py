"""The models of a case: what each is called, which stage makes it, scores D with it and measures it, how it is drawn.

Whatever lists models or names them reads it here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRole:
    """One model of a case.

    `name`: in D's columns and in views. `measured`: among a case's figures and on the command line; empty where no
    stage measures it. `model`: the stage whose artefact holds it; the reference has none, for it is imported or
    shipped. `scored`: the stage that scores D with it, if one does. `title` is for a heading, `label` for a legend or a
    table. `colour`, `pattern`: of its bars, which differ in more than hue. `audited`: the stage that holds it in an
    audit, where that is another.
    """

    name: str
    title: str
    label: str
    model: str = ""
    scored: str = ""
    measured: str = ""
    colour: str = ""
    pattern: str = ""
    audited: str = ""

    def stage(self, audit: bool) -> str:
        """The stage whose artefact holds it, in a lab case or in an audit; empty for the reference."""
        return self.audited if audit and self.audited else self.model

    @property
    def heading(self) -> str:
        """Its title with a capital letter."""
        return self.title[0].upper() + self.title[1:]

    @property
    def evaluated(self) -> str:
        """The stage that measures it; empty if none does."""
        return f"evaluate_{self.measured}" if self.measured else ""

    @property
    def similarity(self) -> str:
        """The column of D with each pair's similarity under it."""
        return f"similarity_{self.name}"


_ALL = (
    ModelRole("reference", "clean reference", "clean reference", "", "score", "clean", "#7F8C9A", ""),
    ModelRole(
        "poisoned",
        "poisoned model (M_bd)",
        "poisoned (M_bd)",
        "poison",
        "score_poisoned",
        "poisoned",
        "#DB6B1E",
        "/",
        "suspect",
    ),
    ModelRole("overfit", "overfitted model", "overfitted", "overfit", "score_overfit"),
    ModelRole("purified", "purified, ours", "purified, ours", "unlearn", "", "purified", "#1C9A78", "-"),
    ModelRole(
        "published", "purified, published", "purified, published", "unlearn_published", "", "published", "#9069C2", "x"
    ),
)
ROLES = {role.name: role for role in _ALL}
"""Every model of a case by its name, in the order in which they come to be."""
SCORED = tuple(role for role in _ALL if role.scored)
"""Those that a stage scores D with."""
MEASURED = {role.measured: role for role in _ALL if role.measured}
"""Those that a stage measures, by what their figures are called: `clean` is the reference."""
SUSPECT = "imported model"
"""What the poisoned model of an audit is called: nobody knows whether it is poisoned."""


def labels(audit: bool) -> dict[str, str]:
    """The labels of the models that are measured, by what their figures are called."""
    return {name: role.label for name, role in MEASURED.items()} | ({"poisoned": SUSPECT} if audit else {})
