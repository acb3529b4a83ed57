"""Where a report's figures come from: settings, versions, digests; and what they do not say."""

import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ubt import __version__
from ubt.cases.finished import Finished, shown_path
from ubt.cases.settings import CaseSettings
from ubt.core.files import digest
from ubt.reports.case_report import Block, Folded, Said, Section, Table

PACKAGES = ("torch", "open_clip_torch", "numpy", "faiss-cpu", "faiss-gpu")
WEIGHTS = "model/open_clip_model.safetensors"
LIMITS = Path(__file__).with_name("limits.toml")
"""What a report does not say, by what it holds for: of any case, lab cases, those on drawn scenes, audits."""


def settings(case: Finished) -> Section:
    """What differs from the defaults, and every setting."""
    own, default = case.settings.described(), CaseSettings().described()
    changed = [[n, str(v), str(default[n][1]), f.help] for n, (f, v) in own.items() if v != default[n][1]]
    some: Block = (
        Table(["setting that differs", "value", "default", "meaning"], changed)
        if changed
        else Said("Every setting is at its default.")
    )
    everything = [[n, str(v), f.help] for n, (f, v) in own.items()]
    return Section(
        "Settings", [some, Folded(f"All {len(own)} settings", [Table(["setting", "value", "meaning"], everything)])]
    )


def origin(case: Finished) -> Section:
    """Versions, where it was computed, and the digests of what was made."""
    where = case.record.compute
    about = [["UBT Inspector", __version__], ["case", case.name], ["computed on", str(where)]]
    if made := case.record.built_in:
        about.append(
            [
                "built-in",
                f"by {made.command} on {made.made}, version {made.version}"
                + (f", on {made.machine}" if made.machine else "")
                + "; the digests are of what is shipped",
            ]
        )
    about += [[f"{p} (of the machine that wrote this report)", v] for p in ("Python", *PACKAGES) if (v := _version(p))]
    for kind, key in (("pairs", case.settings.own.pairs), ("labelled images", case.settings.own.test)):
        if key:
            path = shown_path(case.store, case.store.imported(key)["about"]["path"])
            about.append([f"{kind}, as imported", f"{path} ({key})"])
    for kind, key in (("model audited", case.settings.own.suspect), ("clean reference", case.settings.own.reference)):
        if key:
            card = case.store.imported(key)["card"]
            source = shown_path(case.store, card["source"])
            about.append([kind, f"{card['name']}, {source}, SHA-256 of its weights {card['digest']}"])
    made = []
    for stage, artefact in case.artefacts.items():
        weights = artefact.manifest["files"].get(WEIGHTS, {}).get("sha256", "")
        content = f"weights {weights}" if weights else digest(artefact.manifest["files"])
        made.append(
            [
                stage,
                artefact.path.name,
                f"{artefact.manifest.get('seconds', 0):.1f}",
                artefact.manifest.get("made", ""),
                content,
            ]
        )
    return Section(
        "Origin",
        [
            Table(["", ""], about),
            Folded(
                f"{len(made)} results and their digests",
                [Table(["stage", "artefact", "seconds", "made", "digest"], made)],
            ),
        ],
    )


def _version(package: str) -> str:
    if package == "Python":
        return platform.python_version()
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def limits(case: Finished) -> Section:
    """What the report does not say."""
    known = tomllib.loads(LIMITS.read_text(encoding="utf-8"))
    kinds = ["audit"] if case.audits else ["lab"] if case.settings.own.pairs else ["lab", "scenes"]
    return Section("Limits", [Said(text) for kind in ("any", *kinds) for text in known[kind]])
