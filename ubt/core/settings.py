"""What settings have in common: fields with a label, a range and a help text; JSON in and out; digests; where to
compute.

A concept's own settings stand beside the concept (`ubt/defenses/token_unlearning/split.py` has `SplitSettings`). This
module imports neither torch nor any other part of the package, so that reading settings costs nothing.
"""

import dataclasses
from typing import Any, Self

from ubt.core.errors import BadInput


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    later: bool = False,
) -> Any:
    """A field of a settings class: its default, what it does (with its unit), and the values that make sense. `later`:
    it was added to a class that cases were already named by; at its default it is no part of their identity.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "low": low, "high": high, "choices": choices, "later": later}
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of all settings: frozen, checked when made, equal after a round trip through JSON.

    Raises:
        BadInput: a value is outside its range or of the wrong type.
    """

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            _check(type(self).__name__, f, getattr(self, f.name))

    def to_dict(self) -> dict[str, Any]:
        """Every setting, groups as dictionaries."""
        return dataclasses.asdict(self)

    def to_digest(self) -> dict[str, Any]:
        """As `to_dict`, for digests: without settings, or groups of settings, added later that are at their default."""
        kept = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if not (f.metadata.get("later") and getattr(self, f.name) == _default(f))
        }
        return {name: value.to_digest() if isinstance(value, Settings) else value for name, value in kept.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Settings from plain values; nested settings from nested dictionaries. Unknown names are refused."""
        known = {f.name: f for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise BadInput(f"unknown setting {name!r}; expected one of: {', '.join(known)}")
        return cls(**{n: _nested(known[n], v) for n, v in values.items()})

    def with_values(self, changes: dict[str, Any]) -> Self:
        """A copy with dotted names changed, as `{"split.fraction": 0.1}`; text is read as the field's own type."""
        tree = self.to_dict()
        for dotted, value in changes.items():
            at, owner, parts = tree, type(self), dotted.split(".")
            for part in parts[:-1]:
                owner = _field(owner, part, dotted).type
                at = at[part]
            f = _field(owner, parts[-1], dotted)
            if dataclasses.is_dataclass(f.type):
                raise BadInput(
                    f"{dotted} is a group of settings; name one of:"
                    f" {', '.join(dotted + '.' + g.name for g in dataclasses.fields(f.type))}"
                )
            at[parts[-1]] = _read(f, value, dotted)
        return type(self).from_dict(tree)


@dataclasses.dataclass(frozen=True)
class FitSettings(Settings):
    """What every fine-tune has: AdamW, linear warm-up, schedule, gradient clipping."""

    batch: int = setting(128, "pairs in a step", low=1)
    lr: float = setting(3e-4, "peak learning rate of AdamW", low=0)
    weight_decay: float = setting(0.02, "weight decay of matrices; gains and biases have none", low=0)
    warmup: float = setting(0.1, "share of the steps over which the learning rate rises", low=0, high=1)
    schedule: str = setting("cosine", "how the learning rate goes on after the warm-up", choices=("cosine", "constant"))
    clip: float = setting(1.0, "largest norm of the gradient", low=0)


def _default(f: dataclasses.Field) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


def _field(owner: type, name: str, dotted: str) -> dataclasses.Field:
    fields = {f.name: f for f in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
    if name not in fields:
        raise BadInput(
            f"unknown setting {dotted!r}: expected {name!r} to be one of:"
            f" {', '.join(fields) or 'nothing (this is a single value)'}"
        )
    return fields[name]


def _nested(f: dataclasses.Field, value: Any) -> Any:
    if dataclasses.is_dataclass(f.type) and isinstance(value, dict):
        return f.type.from_dict(value)
    return value


def _read(f: dataclasses.Field, value: Any, dotted: str) -> Any:
    if not isinstance(value, str) or f.type is str:
        return value
    try:
        if f.type is bool:
            return {"true": True, "1": True, "false": False, "0": False}[value.lower()]
        return f.type(value)
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{dotted}: expected a value of type {f.type.__name__}, got {value!r}") from None


def _check(owner: str, f: dataclasses.Field, value: Any) -> None:
    name = f"{owner}.{f.name}"
    kinds = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}.get(f.type)
    if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and f.type is not bool)):
        raise BadInput(f"{name}: expected a value of type {f.type.__name__}, got {value!r}")
    low, high, choices = (f.metadata.get(k) for k in ("low", "high", "choices"))
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = (
            f"between {low} and {high}"
            if low is not None and high is not None
            else f"at least {low}"
            if high is None
            else f"at most {high}"
        )
        raise BadInput(f"{name}: expected a value {span} ({f.metadata['help']}), got {value}")
    if choices and value not in choices:
        raise BadInput(f"{name}: expected one of {', '.join(choices)}; got {value!r}")
