"""The settings of a case: one group a concept, those of attacks, defences and detectors as they declare them."""

from typing import Any

from pydantic import ConfigDict, Field

from ubt.attacks import ATTACKS, AttackSettings, Planted, parse, profile
from ubt.attacks.train_backdoor import PoisonSettings
from ubt.cases.presets import PRESETS, preset
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute
from ubt.core.settings import SettingInfo, Settings, setting
from ubt.data.roles import CleanSettings, DataSettings, LabelledSettings
from ubt.data.scenes import CLASSES, SIZE
from ubt.data.user_roles import OwnSettings
from ubt.defenses import DEFENSES
from ubt.defenses.token_unlearning.cross_fit import FoldSettings
from ubt.defenses.token_unlearning.mask import MaskSettings
from ubt.defenses.token_unlearning.overfit import OverfitSettings
from ubt.defenses.token_unlearning.retain import RetainSettings
from ubt.defenses.token_unlearning.select import SelectSettings, resolve_k
from ubt.defenses.token_unlearning.split import SplitSettings, suspicious_count
from ubt.defenses.token_unlearning.unlearn import PublishedSettings, UnlearnSettings
from ubt.defenses.token_unlearning.verdict import VerdictSettings
from ubt.detectors import DETECTORS
from ubt.evaluation.durability import AgainSettings
from ubt.evaluation.transfer import DownstreamSettings

PROFILE_OF = {"demo": "embedded", "paper": "paper", "scratch": "embedded"}
"""The attack's profile that a preset takes."""


class CaseSettings(Settings):
    """Everything that decides a case's result. The groups that every case reads are fields; those of attacks, of other
    defences and of detectors are whatever these declare, by the same access: `settings.badnet.side`.
    """

    model_config = ConfigDict(extra="allow")

    seed: int = setting(0, "the one seed: data, poison, batches", low=0, high=2**31)
    data: DataSettings = Field(default_factory=DataSettings)
    test: LabelledSettings = Field(default_factory=LabelledSettings)
    attack: AttackSettings = Field(default_factory=AttackSettings)
    poison: PoisonSettings = Field(default_factory=PoisonSettings)
    split: SplitSettings = Field(default_factory=SplitSettings)
    overfit: OverfitSettings = Field(default_factory=OverfitSettings)
    select: SelectSettings = Field(default_factory=SelectSettings)
    verdict: VerdictSettings = Field(default_factory=VerdictSettings)
    mask: MaskSettings = Field(default_factory=MaskSettings)
    retain: RetainSettings = Field(default_factory=RetainSettings)
    unlearn: UnlearnSettings = Field(default_factory=UnlearnSettings)
    published: PublishedSettings = Field(default_factory=PublishedSettings)
    clean: CleanSettings = Field(default_factory=CleanSettings)
    again: AgainSettings = Field(default_factory=AgainSettings)
    own: OwnSettings = Field(default_factory=OwnSettings)
    folds: FoldSettings = Field(default_factory=FoldSettings)
    downstream: DownstreamSettings = Field(default_factory=DownstreamSettings)

    def __init__(self, **values: Any) -> None:
        declared = self.declared()
        for name, kind in declared.items():
            if not isinstance(values.setdefault(name, kind()), kind):
                raise BadInput(f"CaseSettings.{name}: expected a group of settings, got {values[name]!r}")
        super().__init__(**values)

    def model_post_init(self, context: Any) -> None:
        """Raises:
        BadInput: values that do not fit each other.
        """
        _ = self.k
        if (some := self.model_attacks) and len(some) < len(self.attacks):
            raise BadInput(
                f"attack.also: expected attacks on the model alone beside {some[0].label}, which leaves D clean, got"
                f" {next(p.label for p in self.attacks if p.trigger.plants)}"
            )
        for planted in () if self.own.pairs else self.attacks:
            planted.check(self.data.pairs, SIZE, CLASSES)

    @classmethod
    def declared(cls) -> dict[str, type[Settings]]:
        """The groups that attacks, defences and detectors declare, beside the fields."""
        found: dict[str, type[Settings]] = {name: attack.settings for name, attack in ATTACKS.items()}
        for owner in (*DEFENSES.values(), *DETECTORS.values()):
            found |= {name: kind for name, kind in owner.settings.items() if name not in cls.model_fields}
        return found

    @classmethod
    def known(cls) -> dict[str, type]:
        return super().known() | cls.declared()

    @property
    def k(self) -> int:
        """The size of D_topk that is meant."""
        return resolve_k(self.select, self.data.pairs, suspicious_count(self.data.pairs, self.split.fraction))

    @classmethod
    def preset(cls, name: str, attack: str = "badnet", wanted: str = "", pairs: int = 0) -> "CaseSettings":
        """The defaults with a preset's changes, and an attack in a profile: the one asked for, or the preset's own.
        `pairs`: the size of D that the preset's steps are to be counted for; 0: its own.

        Raises:
            BadInput: there is no such preset, attack or profile.
        """
        if name not in PRESETS:
            raise BadInput(f"unknown preset {name!r}; expected one of: {', '.join(PRESETS)}")
        look = profile(attack, wanted or PROFILE_OF[name])
        return cls().with_values(preset(name, pairs) | {"attack.name": attack} | look)

    @property
    def attacks(self) -> tuple[Planted, ...]:
        """Every attack of the case, the first with the settings of its own group."""
        first = self.attack.with_values({"also": ""})
        return Planted(first, getattr(self, self.attack.name)), *parse(self.attack.also)

    @property
    def model_attacks(self) -> tuple[Planted, ...]:
        """Those of them that attack the model and leave D clean."""
        return tuple(p for p in self.attacks if not p.trigger.plants)

    def described(self) -> dict[str, tuple[SettingInfo, Any]]:
        """Every single setting by its dotted name: what it is (help, range, choices) and its value."""
        found: dict[str, tuple[SettingInfo, Any]] = {n: (info, getattr(self, n)) for n, info in self.infos().items()}
        for group, kind in self.groups().items():
            values = getattr(self, group)
            found |= {f"{group}.{n}": (info, getattr(values, n)) for n, info in kind.infos().items()}
        return found

    def name(self, compute: Compute) -> str:
        """The case's name: attack, seed, and a digest of every setting that matters to it and is not at its default."""
        others = {a for a in ATTACKS if self.own.audits or a != self.attack.name}
        others |= {"attack"} if self.own.audits else set()
        tree: dict[str, Any] = {n: v for n, v in self.changes().items() if n not in others}
        if self.own.audits:
            return f"audit-{self.seed}-{digest([tree, *compute.identity])[:8]}"
        tree["identities"] = [p.trigger.identity() for p in self.attacks]
        attacked = any(p.does_something(self.data.pairs) for p in self.attacks)
        known_as = self.attack.name if attacked else "clean"
        return f"{known_as}-{self.seed}-{digest([tree, *compute.identity])[:8]}"
