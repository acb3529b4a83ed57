"""Audits of what nobody vouches for: hostile rows, captions, images, models and folders. Each is worked around and
named, or refused with a reason.
"""

import csv
import json
import os
import pickle
import shutil
import signal

import numpy as np
import open_clip
import pytest
import torch
from ingested import folder as written
from tiny import CPU
from typer.testing import CliRunner

from ubt.cases.pipeline import Pipeline
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.cli.results import UNTOLD
from ubt.clip import models
from ubt.core.errors import BadInput, UbtError

SETTINGS = {
    "overfit.steps": 2,
    "unlearn.steps": 2,
    "published.steps": 2,
    "retain.pool": 24,
    "retain.anchors": 4,
    "unlearn.keep_batch": 8,
    "unlearn.batch": 8,
    "select.k": 4,
    "split.fraction": 0.3,
    "overfit.batch": 16,
}
WORDS = "dog cat owl ship red blue tree hat cup car two one".split()
HOSTILE = [
    '=HYPERLINK(""http://x"",""y"")',
    "<script>alert(1)</script>",
    "@SUM(1+1)",
    "-2+3|cmd",
    "o'clock",
    "…",
    "😀",
    "I",
]


def small(seed: int, size: int = 24, context: int = 16):
    """A CLIP as small as one can be."""
    vision = {"image_size": size, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
    text = {"context_length": context, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    return models.create({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, seed)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a suspect model, a reference, and 32 pairs."""
    root = tmp_path_factory.mktemp("audit")
    for name, model in {"suspect": small(1), "reference": small(2), "other": small(3, 32, 24)}.items():
        models.save(model, root / name)
    written(root / "pairs", [(f"images/{i}.png", f"a {WORDS[i % 12]} and {i}") for i in range(32)], images=32)
    return root


@pytest.fixture
def audit(world, tmp_path):
    """`audit(option=value, ...)` runs an audit in this process and gives its result; an error it leaves with is the
    result's `exception`. That nothing can be told of models that know nothing is no error.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*more, **changes):
        named = {
            "pairs": world / "pairs" / "captions.csv",
            "model": world / "suspect",
            "reference": world / "reference",
        }
        named |= {"out": tmp_path / "out", "cache": tmp_path / "cache", "device": "cpu", "precision": "fp32"} | changes
        options = [x for name, value in named.items() for x in (f"--{name}", str(value))]
        result = CliRunner().invoke(
            app, ["audit", *options, *(x for k, v in SETTINGS.items() for x in ("--set", f"{k}={v}")), *more]
        )
        if result.exit_code == UNTOLD:
            result.exception = None
        return result

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def told(folder):
    """audit.json, strictly, and the rows of the two tables."""

    def refuse(constant):
        raise AssertionError(constant)

    tables = [
        list(csv.DictReader((folder / f"{name}.csv").open(newline="", encoding="utf-8")))
        for name in ("flagged", "quarantine")
    ]
    return json.loads((folder / "audit.json").read_text(), parse_constant=refuse), *tables


def test_hostile_rows_are_named_and_hostile_captions_stay_text(audit, tmp_path, monkeypatch):
    rows = [(f"images/{i}.png", HOSTILE[i % 8] if i < 16 else f"{HOSTILE[i % 8]} {WORDS[i % 12]}") for i in range(40)]
    table = written(tmp_path / "pairs", rows, images=40)
    images = table.parent / "images"
    (images / "3.png").write_bytes(b"\x89PNG nope")
    (images / "4.png").write_bytes((images / "5.png").read_bytes()[:300])
    (images / "link.png").symlink_to("/etc/passwd")
    with table.open("ab") as f:
        f.write(
            b"../../../etc/passwd,a\n/etc/shadow,b\nhttp://x/y.png,c\nimages/link.png,d\nimages/none.png,e\nimages/5.png,caf\xe9\n"
        )
    for user in ("retain", "verdict"):
        monkeypatch.setattr(f"ubt.defenses.token_unlearning.{user}.least_displaced", lambda *arguments: -2.0)
    bars = ("--set", "verdict.threshold=-1", "--set", "verdict.checks=false")
    found = audit(*bars, "--purified", str(tmp_path / "pure"), pairs=table)
    assert found.exception is None, found.output
    said, flagged, left_out = told(tmp_path / "out")
    reasons = {row["image"]: row["reason"] for row in left_out}
    assert reasons["images/3.png"] == "not an image"
    assert reasons["images/4.png"] == "truncated image"
    assert (
        reasons["../../../etc/passwd"] == reasons["/etc/shadow"] == reasons["images/link.png"] == "path leaves the root"
    )
    assert reasons["images/none.png"] == "missing file"
    assert reasons["http://x/y.png"] == "web address"
    assert reasons["images/5.png"] == "undecodable caption"
    assert len(left_out) == 8
    assert (said["verdict"]["answer"], found.exit_code) == ("poisoned", 0)
    assert len(flagged) >= 4
    printed = " ".join(found.output.split())
    assert f"{len(flagged)} of 38 pairs flagged" in printed
    assert "38 of 46 rows kept, from: table (" in printed and "left out: 3 path leaves the root, " in printed
    assert not [
        text
        for row in [*flagged, *left_out]
        for text in (row["image"], row["caption"])
        if text.startswith(("=", "+", "-", "@"))
    ]
    monkeypatch.undo()
    opened, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'pure'}")
    own = models.load(tmp_path / "pure").state_dict()
    assert all(
        torch.equal(value.float(), own[name].float()) for name, value in opened.state_dict().items() if name in own
    )


@pytest.mark.parametrize(
    ("rows", "more"),
    [
        ([(f"images/{i}.png", "a cat") for i in range(32)], {}),
        ([("images/0.png", f"a {WORDS[i % 12]} {i}") for i in range(32)], {"model": "other"}),
        ([(f"images/{i}.png", f"a {WORDS[i % 12]}") for i in range(16)], {"reference": "other"}),
    ],
    ids=["all captions equal", "all images equal, a model of another size", "16 pairs, a reference of another size"],
)
def test_what_says_nothing_is_audited_all_the_same(audit, world, tmp_path, rows, more):
    found = audit(pairs=written(tmp_path / "pairs", rows, images=32), **{k: world / v for k, v in more.items()})
    assert found.exception is None, found.output
    said, flagged, left_out = told(tmp_path / "out")
    assert (said["verdict"]["answer"], found.exit_code) == ("cannot tell", UNTOLD)
    assert (flagged, left_out) == ([], [])
    printed = " ".join(found.output.split())
    for check in said["verdict"]["checks"]:
        assert f"{'ok' if check['passed'] else 'no'} {check['check']}: {check['said']}" in printed
        assert np.isfinite(check["figure"]) and np.isfinite(check["bar"])
    failed = [c for c in said["verdict"]["checks"] if not c["passed"]]
    assert "reference, retrieval of D_normal's captions" in {c["check"] for c in failed}
    assert all(f"{c['why']}; {c['advice']}" in printed for c in failed)


def spoilt(world, tmp_path, value):
    model = models.load(world / "suspect")
    with torch.no_grad():
        model.visual.proj[:] = value
    models.save(model, tmp_path / "spoilt")
    return tmp_path / "spoilt"


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _pickled(world, tmp_path):
    torch.save({"state_dict": Payload(tmp_path / "ran")}, tmp_path / "evil.pt")
    return {"model": tmp_path / "evil.pt"}


def _bare(world, tmp_path):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    return {"reference": tmp_path / "evil.pt"}


def _file(path):
    path.write_text("x")
    return path


def _few(world, tmp_path):
    return {"pairs": written(tmp_path / "few", [(f"images/{i}.png", f"a {i}") for i in range(15)], images=15)}


def _latin(world, tmp_path):
    return {
        "pairs": written(
            tmp_path / "latin", table=b"image,caption\n" + "images/0.png,é\nimages/1.png,à\n".encode("latin-1")
        )
    }


REFUSED = {
    "a pickle that would run code": (_pickled, "could run code"),
    "a bare pickle": (_bare, "not opened"),
    "weights that are not finite": (lambda w, t: {"model": spoilt(w, t, float("nan"))}, "expected finite weights"),
    "weights that make nothing of an image": (
        lambda w, t: {"model": spoilt(w, t, 0.0)},
        "spoilt: expected a model that embeds",
    ),
    "a reference that overflows": (
        lambda w, t: {"reference": spoilt(w, t, 1e38)},
        "spoilt: expected a model that embeds",
    ),
    "a reference equal to the suspect": (lambda w, t: {"reference": w / "suspect"}, "the very model"),
    "too few pairs": (_few, "at least 16 pairs"),
    "no caption in UTF-8": (_latin, "2 undecodable caption"),
    "an --out that is a file": (lambda w, t: {"out": _file(t / "file")}, "--out: expected a folder"),
    "an --out below a file": (lambda w, t: {"out": _file(t / "file") / "below"}, "is a file"),
    "a --purified that is there": (lambda w, t: {"purified": t}, "not there yet"),
    "a device for pairs": (lambda w, t: {"pairs": "/dev/zero"}, "neither file nor folder"),
    "pairs that are an image": (lambda w, t: {"pairs": w / "pairs" / "images" / "0.png"}, "ending in '.png'"),
    "labels that are pairs": (lambda w, t: {"labels": w / "pairs" / "captions.csv"}, "expected one label column"),
    "a setting that names what an option names": (
        lambda w, t: {"set": "own.pairs=../../x"},
        "own.pairs to be named by an option",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_audited_is_refused_with_a_reason(audit, world, tmp_path, case):
    given, said = REFUSED[case]
    found = audit(**given(world, tmp_path))
    assert isinstance(found.exception, BadInput)
    assert said in str(found.exception)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out" / "audit.json").exists()


def test_an_image_that_changed_or_vanished_between_runs_is_seen(audit, world, tmp_path):
    """Brought again they are other pairs; a case that goes on with the old ones says which image has changed."""
    shutil.copytree(world / "pairs", tmp_path / "pairs")
    images, store = tmp_path / "pairs" / "images", Store(tmp_path / "cache")
    lazily = {"pairs": tmp_path / "pairs" / "captions.csv", "set": "own.keep=0"}
    assert audit(**lazily).exception is None
    (before,) = store.names()
    (images / "7.png").write_bytes((images / "8.png").read_bytes())
    settings = CaseSettings.from_dict(store.record(before).settings).with_values({"overfit.steps": 3})
    with pytest.raises(UbtError, match=r"images/7\.png.*has changed since"):
        Pipeline(store, CPU).run(settings)
    assert audit(**lazily).exception is None
    assert len({store.record(name).settings["own"]["pairs"] for name in store.names()}) == 2
    (images / "7.png").unlink()
    assert audit(**lazily).exception is None
    _, _, left_out = told(tmp_path / "out")
    assert [(row["image"], row["reason"]) for row in left_out] == [("images/7.png", "missing file")]


def test_what_no_json_parser_takes_is_written_as_null():
    from ubt.workflows.audit import strict

    said = strict({"a": [np.float32("nan"), np.int64(2), float("inf")], 3: {"b": np.bool_(True)}})
    assert json.dumps(said, allow_nan=False) == '{"a": [null, 2, null], "3": {"b": true}}'


def test_an_audit_is_listed_and_shown_among_the_cases_and_can_do_without_a_reference(audit, tmp_path):
    result = audit("--set", "folds.epochs=1", reference="folds")
    assert result.exit_code == UNTOLD, result.output
    account, *_ = told(tmp_path / "out")
    assert (account["reference"], account["models"].keys()) == ("folds", {"suspect"})
    cache = ("--cache", str(tmp_path / "cache"))
    listed = CliRunner().invoke(app, ["cases", "list", *cache])
    assert "verdict: cannot tell" in " ".join(listed.output.split())
    shown = CliRunner().invoke(app, ["cases", "show", account["case"], *cache])
    assert shown.exit_code == 0, shown.output
    assert "estimates, without ground truth" in shown.output
