"""What names and cached results rest on: every default, every stage's version, the names of a few cases.

`python tests/cases/golden.py` writes it anew, but not where a default changed and a stage that reads it kept its
version: the results of the old default would be computed again, and nothing would say why.
"""

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "golden.json"


def of_today() -> dict[str, Any]:
    """The same, as the code is now."""
    from tiny import tiny

    from ubt.cases.catalog import every
    from ubt.cases.keys import keys
    from ubt.cases.settings import CaseSettings
    from ubt.core.files import REFERENCE
    from ubt.core.run import Compute

    cases = {
        "default": CaseSettings(),
        "paper": CaseSettings.preset("paper"),
        "two attacks": CaseSettings().with_values({"seed": 3, "attack.also": "sig target=car rate=0.01"}),
        "clean": CaseSettings().with_values({"attack.rate": 0.0}),
        "tiny": tiny(),
    }
    stages, where = every(), Compute("cpu", "fp32", 2)
    return {
        "defaults": {name: value for name, (_, value) in CaseSettings().described().items()},
        "versions": {s.identity: s.version for s in stages},
        "readers": {
            group: sorted({s.identity for s in stages if group in s.settings.values()})
            for group in CaseSettings.groups()
        },
        "names": {name: case.name(where) for name, case in cases.items()},
        "artefacts": {name: keys(cases[name], where, stages, REFERENCE)["evaluate_purified"] for name in cases},
    }


def unversioned(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Defaults that changed while a stage that reads them kept its version."""
    found = []
    for name, value in now["defaults"].items():
        if name in before["defaults"] and before["defaults"][name] != value:
            readers = now["readers"].get(name.split(".")[0], [])
            kept = [r for r in readers if before["versions"].get(r) == now["versions"][r]]
            found += (
                [f"{name}: {before['defaults'][name]} -> {value}; raise the version of {', '.join(kept)}"]
                if kept
                else []
            )
    return found


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    today = of_today()
    if FILE.exists() and (wrong := unversioned(json.loads(FILE.read_text()), today)):
        sys.exit("\n".join(wrong))
    FILE.write_text(json.dumps(today, indent=1) + "\n")
