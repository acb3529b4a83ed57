"""Cases and artefacts on disk.

`cache/artefacts/STAGE-DIGEST/` holds what a stage made, immutable, written in one step, with a manifest of sizes and
digests; cases that share a step share its artefact. `cache/cases/NAME/case.json` holds a case's settings and the
artefacts it is made of.
"""

from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from typing import Any

from ubt.attacks import ATTACKS, AttackSettings, Planted, parse, profile
from ubt.attacks.badnet import BadNetSettings
from ubt.attacks.blended import BlendedSettings
from ubt.attacks.label_consistent import LabelConsistentSettings
from ubt.attacks.sig import SigSettings
from ubt.attacks.ssba import SsbaSettings
from ubt.attacks.train_backdoor import PoisonSettings
from ubt.attacks.trojvqa import TrojVqaSettings
from ubt.attacks.wanet import WaNetSettings
from ubt.cases.presets import PRESETS, papers
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.core.run import Compute
from ubt.core.settings import Settings, setting
from ubt.data.roles import CleanSettings, DataSettings, LabelledSettings
from ubt.data.scenes import CLASSES, SIZE
from ubt.data.user_roles import OwnSettings
from ubt.defenses.abl import AblSettings, IsolateSettings
from ubt.defenses.cleanclip import CleanClipSettings
from ubt.defenses.control import ControlSettings
from ubt.defenses.poisoncam import ClassifySettings, LocateSettings
from ubt.defenses.roclip import RoClipSettings
from ubt.defenses.supervised import SupervisedSettings
from ubt.defenses.token_unlearning.cross_fit import FoldSettings
from ubt.defenses.token_unlearning.mask import MaskSettings
from ubt.defenses.token_unlearning.overfit import OverfitSettings
from ubt.defenses.token_unlearning.retain import RetainSettings
from ubt.defenses.token_unlearning.select import SelectSettings, resolve_k
from ubt.defenses.token_unlearning.split import SplitSettings, suspicious_count
from ubt.defenses.token_unlearning.unlearn import PublishedSettings, UnlearnSettings
from ubt.defenses.token_unlearning.verdict import VerdictSettings
from ubt.detectors.base import DetectSettings
from ubt.evaluation.durability import AgainSettings
from ubt.evaluation.transfer import DownstreamSettings

PROFILE_OF = {"demo": "embedded", "paper": "paper"}
"""The attack's profile that a preset takes."""
LATER = {"later": True}
"""Of a group of settings that is no part of a case's identity while it is at its defaults."""


@dataclass(frozen=True)
class CaseSettings(Settings):
    """Everything that decides a case's result, one group a concept."""

    seed: int = setting(0, "the one seed: data, poison, batches", low=0, high=2**31)
    data: DataSettings = field(default_factory=DataSettings)
    test: LabelledSettings = field(default_factory=LabelledSettings)
    attack: AttackSettings = field(default_factory=AttackSettings)
    badnet: BadNetSettings = field(default_factory=BadNetSettings)
    blended: BlendedSettings = field(default_factory=BlendedSettings)
    sig: SigSettings = field(default_factory=SigSettings)
    ssba: SsbaSettings = field(default_factory=SsbaSettings)
    trojvqa: TrojVqaSettings = field(default_factory=TrojVqaSettings)
    wanet: WaNetSettings = field(default_factory=WaNetSettings)
    label_consistent: LabelConsistentSettings = field(default_factory=LabelConsistentSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    poison: PoisonSettings = field(default_factory=PoisonSettings)
    overfit: OverfitSettings = field(default_factory=OverfitSettings)
    select: SelectSettings = field(default_factory=SelectSettings)
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    retain: RetainSettings = field(default_factory=RetainSettings)
    unlearn: UnlearnSettings = field(default_factory=UnlearnSettings)
    published: PublishedSettings = field(default_factory=PublishedSettings)
    clean: CleanSettings = field(default_factory=CleanSettings, metadata=LATER)
    isolate: IsolateSettings = field(default_factory=IsolateSettings, metadata=LATER)
    abl: AblSettings = field(default_factory=AblSettings, metadata=LATER)
    cleanclip: CleanClipSettings = field(default_factory=CleanClipSettings, metadata=LATER)
    supervised: SupervisedSettings = field(default_factory=SupervisedSettings, metadata=LATER)
    roclip: RoClipSettings = field(default_factory=RoClipSettings, metadata=LATER)
    locate: LocateSettings = field(default_factory=LocateSettings, metadata=LATER)
    classify: ClassifySettings = field(default_factory=ClassifySettings, metadata=LATER)
    control: ControlSettings = field(default_factory=ControlSettings, metadata=LATER)
    detect: DetectSettings = field(default_factory=DetectSettings, metadata=LATER)
    again: AgainSettings = field(default_factory=AgainSettings, metadata=LATER)
    own: OwnSettings = field(default_factory=OwnSettings, metadata=LATER)
    folds: FoldSettings = field(default_factory=FoldSettings, metadata=LATER)
    downstream: DownstreamSettings = field(default_factory=DownstreamSettings, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.k
        for planted in () if self.own.pairs else self.attacks:
            planted.check(self.data.pairs, SIZE, CLASSES)

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
        changes = (
            papers(pairs) if pairs and name == "paper" else PRESETS[name] | ({"data.pairs": pairs} if pairs else {})
        )
        return cls().with_values(changes | {"attack.name": attack} | profile(attack, wanted or PROFILE_OF[name]))

    @property
    def attacks(self) -> tuple[Planted, ...]:
        """Every attack of the case, the first with the settings of its own group."""
        return Planted(replace(self.attack, also=""), getattr(self, self.attack.name)), *parse(self.attack.also)

    def described(self) -> dict[str, tuple[Field, Any]]:
        """Every single setting by its dotted name: its field (help, range, choices) and its value."""
        found = {}
        for group in fields(self):
            value = getattr(self, group.name)
            for f in fields(value) if is_dataclass(value) else [group]:
                found |= (
                    {group.name: (f, value)} if f is group else {f"{group.name}.{f.name}": (f, getattr(value, f.name))}
                )
        return found

    def name(self, compute: Compute) -> str:
        """The case's name: attack, seed, and a digest of every setting that matters to it."""
        other = {a for a in ATTACKS if a != self.attack.name}
        tree = {k: v for k, v in self.to_digest().items() if k not in other}
        tree["identities"] = [p.trigger.identity() for p in self.attacks]
        poisoned = any(p.attack.poisons(self.data.pairs) for p in self.attacks)
        if self.own.audits:
            del tree["attack"], tree["identities"]
            return f"audit-{self.seed}-{digest([tree, compute.device, compute.precision])[:8]}"
        return f"{self.attack.name if poisoned else 'clean'}-{self.seed}-{digest([tree, compute.device, compute.precision])[:8]}"
