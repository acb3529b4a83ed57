"""The record of a case, as `cases/NAME/case.json` keeps it: what it is made of, how it stands, what it came to."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from ubt.core.run import Compute

SCHEMA = 5
"""Raised when records or artefacts change so that older ones can no longer be shown."""
MOVED = "moved.json"
"""In the folder of a case that `python -m ubt cases migrate` made anew: its name now, and its record as it was."""
MARK = "mark.json"
"""In the folder of a case, also of a built-in one: its title and whether it is pinned, see `ubt.cases.marks`."""
OTHER_VERSION = "it was made by another version"
UNREADABLE = ("absent", "damaged", "outdated")
"""The states of a record that says nothing of its case."""

Unreadable = Literal["absent", "damaged", "outdated"]
State = Literal["new", "partial", "running", "done", "failed", "cancelled", "interrupted", Unreadable]
"""`new`: nothing was run; `partial`: some stages are done; `interrupted`: its process ended without a word; `damaged`:
the record cannot be read, or a later version wrote it; `outdated`: an earlier version wrote it; `absent`: there is
none.
"""
Text = Annotated[str, BeforeValidator(lambda said: said.encode(errors="backslashreplace").decode())]
"""What somebody is told. A file name in it may hold bytes that are no text, which JSON cannot keep."""


class EarlierVersion(ValueError):
    """A record that an earlier version wrote."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="constants")


class Ended(_Kept):
    """A run that did not come to its end: whether it was cancelled or failed, and what it said."""

    state: Literal["cancelled", "failed"]
    error: Text


class BuiltIn(_Kept):
    """What made a built-in case: its title, the command, the day, the package's version, the machine's processor."""

    title: str
    command: str
    made: str
    version: str
    machine: str = ""


class CaseRecord(_Kept):
    """One case on record. `settings` are plain values, so that a case whose settings this version no longer knows can
    still be listed; `CaseSettings.from_dict` reads them.

    `artefacts`: their names by stage. `updated`: seconds since 1970. `error`, `at`: what the last run said if it was
    cancelled or failed, and in which stage. `errors`: the same of every stage up to which the case was run in vain.
    `metrics`: its figures, None until every stage of the case is done. `imported`: its artefacts were imported, so
    that nothing can be run. `built_in`: what made it, of a built-in case.
    """

    settings: dict[str, Any]
    compute: Compute
    artefacts: dict[str, str]
    state: State
    updated: float
    error: Text = ""
    at: str = ""
    errors: dict[str, Ended] = {}
    metrics: dict[str, Any] | None = None
    imported: bool = Field(False, alias="given")
    built_in: BuiltIn | None = Field(None, alias="ready")
    schema_number: int = Field(alias="schema")

    @field_validator("schema_number")
    @classmethod
    def _of_this_version(cls, number: int) -> int:
        if number != SCHEMA:
            raise ValueError(OTHER_VERSION)
        return number

    @classmethod
    def empty(cls, state: Unreadable, error: str, settings: dict[str, Any] | None = None) -> Self:
        """The record of a case that has none, or none that can be read, and why. `settings`: as an earlier version kept
        them.
        """
        return cls(
            settings=settings or {},
            compute=Compute("cpu", "fp32"),
            artefacts={},
            state=state,
            updated=0,
            error=error,
            schema_number=SCHEMA,
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read a record.

        Raises:
            EarlierVersion: an earlier version wrote it. ValueError: it is no record of this version for another reason;
                the message says why, in a few words.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as e:
            said = {".".join(map(str, each["loc"])): each["msg"] for each in e.errors()}
            numbers = [each["input"] for each in e.errors() if each["loc"] == ("schema",)]
            if numbers and isinstance(numbers[0], int) and numbers[0] < SCHEMA:
                raise EarlierVersion(OTHER_VERSION) from None
            if numbers:
                raise ValueError(OTHER_VERSION) from None
            where, what = next(iter(said.items()))
            raise ValueError(f"{where}: {what}" if where else what) from None

    def to_json(self) -> bytes:
        """The same as bytes; what is at its default is left out."""
        return self.model_dump_json(indent=1, by_alias=True, exclude_defaults=True).encode()

    def changed(self, **values: Any) -> Self:
        """The same with some fields changed, checked as when it is read."""
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields} | values)

    @property
    def readable(self) -> bool:
        """Whether it says anything of its case."""
        return self.state not in UNREADABLE
