"""What settings have in common: fields with a range and a help text, checked when made; JSON in and out.

A concept's own settings stand beside the concept (`ubt/defenses/token_unlearning/split.py` has `SplitSettings`). This
module imports neither torch nor any other room, so that reading settings costs little.
"""

import functools
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from ubt.core.errors import BadInput


def setting(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A field of a settings class: its default, what it does (with its unit), and the values that make sense."""
    return Field(default, description=help, ge=low, le=high, json_schema_extra={"choices": list(choices)})


@dataclass(frozen=True)
class SettingInfo:
    """What a single setting is: its type, default, help text, range and choices."""

    type: type
    default: Any
    help: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]

    @classmethod
    def of(cls, field: FieldInfo) -> "SettingInfo":
        """What a field of a settings class declares."""
        bounds = {name: getattr(m, name) for m in field.metadata for name in ("ge", "le") if hasattr(m, name)}
        choices = (field.json_schema_extra or {}).get("choices", ())
        return cls(
            field.annotation, field.default, field.description or "", bounds.get("ge"), bounds.get("le"), tuple(choices)
        )

    @property
    def expected(self) -> str:
        """The values that make sense, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.low is not None and self.high is not None:
            return f"a value between {self.low} and {self.high} ({self.help})"
        if self.low is not None:
            return f"a value at least {self.low} ({self.help})"
        if self.high is not None:
            return f"a value at most {self.high} ({self.help})"
        return f"a value of type {self.type.__name__}"

    def read(self, text: Any, name: str) -> Any:
        """A value from text, as the command line and tables of settings have it; anything else as it is.

        Raises:
            BadInput: the text is no value of the setting's type.
        """
        if not isinstance(text, str) or self.type is str:
            return text
        try:
            if self.type is bool:
                return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
            return self.type(text)
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{name}: expected a value of type {self.type.__name__}, got {text!r}") from None


class Settings(BaseModel):
    """Base of all settings: frozen, checked when made, equal after a round trip through JSON.

    Raises:
        BadInput: a value is outside its range or of the wrong type, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        known = self.known()
        for name in values:
            if name not in known:
                raise BadInput(f"unknown setting {name!r}; expected one of: {', '.join(known)}")
        try:
            super().__init__(**values)
        except ValidationError as e:
            raise BadInput(_explained(type(self), e)) from None

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        for name, info in self.infos().items():
            if info.choices and getattr(self, name) not in info.choices:
                raise BadInput(f"{type(self).__name__}.{name}: expected {info.expected}; got {getattr(self, name)!r}")
        return self

    @classmethod
    def known(cls) -> dict[str, type]:
        """The names that this class takes, each with the type of its value."""
        return {name: field.annotation for name, field in cls.model_fields.items()}

    @classmethod
    def groups(cls) -> dict[str, "type[Settings]"]:
        """Those of them that are groups of settings, each with its class."""
        return {
            name: kind for name, kind in cls.known().items() if isinstance(kind, type) and issubclass(kind, Settings)
        }

    @classmethod
    @functools.cache
    def infos(cls) -> dict[str, SettingInfo]:
        """What is declared of every single setting of this class, not of its groups."""
        return {name: SettingInfo.of(field) for name, field in cls.model_fields.items() if name not in cls.groups()}

    def to_dict(self) -> dict[str, Any]:
        """Every setting, groups as dictionaries."""
        return {n: v.to_dict() if isinstance(v := getattr(self, n), Settings) else v for n in self.known()}

    def changes(self) -> dict[str, Any]:
        """What differs from the defaults, groups as dictionaries: what tells settings apart in digests, so that a
        setting added later, at its default, changes no name.
        """
        found = {n: v for n, info in self.infos().items() if (v := getattr(self, n)) != info.default}
        return found | {n: changed for n in self.groups() if (changed := getattr(self, n).changes())}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Settings from plain values; groups from nested dictionaries. Unknown names are refused."""
        groups = cls.groups()
        return cls(
            **{n: groups[n].from_dict(v) if n in groups and isinstance(v, dict) else v for n, v in values.items()}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Settings from JSON text, as `json.dumps` of `to_dict` writes it.

        Raises:
            BadInput: it is no JSON object, or not of these settings.
        """
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise BadInput(f"{cls.__name__}: expected settings as a JSON object, got {text[:40]!r}")
        return cls.from_dict(values)

    def with_values(self, changes: dict[str, Any]) -> Self:
        """A copy with dotted names changed, as `{"split.fraction": 0.1}`; text is read as the setting's own type."""
        tree = self.to_dict()
        for dotted, value in changes.items():
            at, owner, parts = tree, type(self), dotted.split(".")
            for part in parts[:-1]:
                owner, at = _named(owner, part, dotted), at[part]
            kind = _named(owner, parts[-1], dotted)
            if kind in owner.groups().values() and parts[-1] in owner.groups():
                offered = ", ".join(f"{dotted}.{name}" for name in kind.known())
                raise BadInput(f"{dotted} is a group of settings; name one of: {offered}")
            at[parts[-1]] = owner.infos()[parts[-1]].read(value, dotted)
        return type(self).from_dict(tree)


class FitSettings(Settings):
    """What every fine-tune has: AdamW (`betas`: how long it remembers), linear warm-up, schedule, gradient clipping."""

    betas: ClassVar[tuple[float, float]] = (0.9, 0.98)

    batch: int = setting(128, "pairs in a step", low=1)
    lr: float = setting(3e-4, "peak learning rate of AdamW", low=0)
    weight_decay: float = setting(0.02, "weight decay of matrices; gains and biases have none", low=0)
    warmup: float = setting(0.1, "share of the steps over which the learning rate rises", low=0, high=1)
    schedule: str = setting("cosine", "how the learning rate goes on after the warm-up", choices=("cosine", "constant"))
    clip: float = setting(1.0, "largest norm of the gradient", low=0)


def _named(owner: Any, name: str, dotted: str) -> type:
    known = owner.known() if isinstance(owner, type) and issubclass(owner, Settings) else {}
    if name not in known:
        offered = ", ".join(known) or "nothing (this is a single value)"
        raise BadInput(f"unknown setting {dotted!r}: expected {name!r} to be one of: {offered}")
    return known[name]


def _explained(owner: type[Settings], error: ValidationError) -> str:
    """The first thing that is wrong, as what was expected and what came."""
    first = error.errors(include_url=False)[0]
    name, value = str(first["loc"][0]), first["input"]
    info, where = owner.infos().get(name), f"{owner.__name__}.{name}"
    if info is None:
        return f"{where}: expected a group of settings, got {value!r}"
    if first["type"] in ("greater_than_equal", "less_than_equal"):
        return f"{where}: expected {info.expected}, got {value}"
    if first["type"] == "finite_number":
        expected = info.expected if "value of type" not in info.expected else f"a finite number ({info.help})"
        return f"{where}: expected {expected}, got {value}"
    return f"{where}: expected a value of type {info.type.__name__}, got {value!r}"
