"""A report says what the app shows, survives whatever captions hold, and needs nothing beside it."""

import html
import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from ubt import figures
from ubt.cases.finished import Finished
from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.core.errors import BadInput, UbtError
from ubt.core.text import visible
from ubt.figures import measures, similarity
from ubt.figures.svg import Drawn, svg
from ubt.pairs.annotations import Review
from ubt.reports.case_report import Card, Cards, Folded, Report, Said, Section, Table, contents
from ubt.reports.case_report.html import page as drawn
from ubt.reports.case_report.markdown import markdown, plain

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></svg><iframe src=//evil.example>",
    "[x](javascript:alert(1)) ![y](http://evil.example/p.png)",
    "a\u202etxt.exe\u2066 \u200f\u0645\u0648\u0632",
    "x" * 9000,
    "| a | b |\n# head\n<!-- ",
    "&lt;b&gt; &#x27; `code` $x$ @all www.evil.example",
    "nul\0 bell\x07 lone\ud800",
    "=1+1",
]

STORED = [text.encode("utf-8", "replace").decode() for text in HOSTILE]
"""The same without what no table of ours can hold."""


def blocks(report: Report) -> list:
    return [
        inner for s in report.sections for b in s.blocks for inner in ([b, *b.blocks] if isinstance(b, Folded) else [b])
    ]


class Strict(HTMLParser):
    """Notes what could run or fetch, and what is read."""

    def __init__(self, text: str):
        super().__init__()
        self.bad, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in (
            "script",
            "iframe",
            "object",
            "embed",
            "link",
            "base",
            "form",
            "foreignobject",
            "audio",
            "video",
            "image",
        ):
            self.bad.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                name in ("src", "href", "xlink:href", "action", "srcset")
                and not re.match(r"#|data:image/(png|jpeg);base64,", value or "")
            ):
                self.bad.append((tag, name, value))
            if name == "style" and re.search(r"url\((?!#)|expression|@import", value or ""):
                self.bad.append((tag, name, value))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def told(tiny_store, tiny_case) -> Report:
    return contents.report(tiny_store, tiny_case.name)


def test_its_tables_are_those_of_the_measures(told, tiny_case):
    tables = [b for b in blocks(told) if isinstance(b, Table)]
    models = next(t for t in tables if t.columns[0] == "model")
    for row, (_, m) in zip(
        models.rows, [(k, tiny_case.artefacts[f"evaluate_{k}"]["measures"]) for k in figures.LABELS], strict=True
    ):
        assert row[1:5] == [f"{m[k]:.2f}" for k in measures.MEASURES]
    changed = next(t for t in tables if t.columns[0] == "setting that differs")
    assert next(r for r in changed.rows if r[0] == "data.pairs")[:3] == ["data.pairs", "600", "10000"]
    digests = next(t for t in tables if t.columns[0] == "stage")
    assert {r[1] for r in digests.rows} == {a.path.name for a in tiny_case.artefacts.values()}
    assert [s.title for s in told.sections][-1] == "Limits"


def test_what_is_drawn_without_a_browser_is_the_figure():
    r = np.random.default_rng(0)
    score, poisoned = r.random(500), np.arange(500) < 40
    figure = similarity.histogram(score, poisoned, (0.4, "flagged", "left"))
    (ax,) = Drawn(figure, 400).axes.values()
    for trace, line in zip(figure.data, ax.lines, strict=False):
        assert np.array_equal(line.get_ydata(), trace.y)
        assert line.get_drawstyle() == "steps-mid"
    assert [c.get_hatch() for c in ax.collections] == [None, "////"]
    made = {
        k: {m: v for m in measures.MEASURES} | {"intervals": {m: (v - 5, v + 5) for m in measures.MEASURES}}
        for k, v in (("clean", 40.0), ("poisoned", 60.0))
    }
    bars = measures.bars(made)
    (ax,) = Drawn(bars, 400).axes.values()
    assert [[round(p.get_height(), 6) for p in c] for c in ax.containers if hasattr(c, "patches") and c.patches] == [
        list(t.y) for t in bars.data
    ]
    text = svg(figure, name="one")
    assert 'role="img"' in text
    assert "poisoned (40)" in text.split(">", 1)[0]
    assert "#010203" not in text
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(re.findall(r'\bid="([^"]+)"', text))
    with pytest.raises(UbtError, match="got a trace of type heatmap"):
        svg(figure.add_heatmap(z=[[1]]))


@pytest.fixture
def hostile(full, tiny_case, monkeypatch) -> Report:
    """The tiny case as if it held hostile captions, words, ids and notes."""

    class Hostile(Finished):
        @property
        def pairs(self):
            table = super().pairs
            texts = [HOSTILE[i % len(HOSTILE)].encode("utf-8", "replace").decode() for i in range(len(table))]
            return replace(table, caption=pa.array(texts, pa.large_string()))

        def read(self, stage, entry):
            value = super().read(stage, entry)
            return (
                value.assign(word=[STORED[i % len(STORED)] for i in range(len(value))])
                if (stage, entry) == ("mask", "words")
                else value
            )

    ids = tiny_case.artefacts["data"]["pairs"]["id"].tolist()
    rows = tiny_case.artefacts["select"]["topk"]["row"].tolist()
    review = Review(full.root / "cases" / tiny_case.name / "review.sqlite")
    for n, row in enumerate(rows):
        review.label([ids[row]], "backdoor", "x", STORED[n])
    monkeypatch.setattr(contents, "Finished", Hostile)
    return contents.report(full, tiny_case.name)


def test_hostile_captions_are_text_and_nothing_else(hostile):
    whole = drawn(hostile)
    read = Strict(whole)
    assert not read.bad
    assert len(whole.encode()) < 5_000_000
    assert "default-src 'none'" in whole
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\0\ud800-\udfff]", whole)
    for text in HOSTILE[:4]:
        assert text in read.text
    assert "\\u202etxt.exe" in read.text
    assert "(9,000 characters)" in read.text
    assert "backdoor among the" in read.text
    shown = {name for name in markdown(hostile, "pictures") if name.endswith(".md")}
    assert shown == {f"{hostile.name}.md"}


def test_markdown_escapes_them_too(hostile):
    files = markdown(hostile, "pictures")
    text = files.pop(f"{hostile.name}.md").decode()
    assert set(re.findall(r"\]\(([^)]*)\)", re.sub(r"\\.", "", text))) == set(files)
    assert not re.search(r"<(?!br>|/?details>|/?summary>)", re.sub(r"\\.", "", text))
    rows = itertools.groupby(re.sub(r"\\.", "", text).splitlines(), lambda line: line.startswith("|"))
    assert all(len({line.count("|") for line in lines}) == 1 for table, lines in rows if table)
    for name, content in files.items():
        assert not name.endswith(".svg") or not Strict(content.decode()).bad, name
    for cell in HOSTILE:
        assert "\n" not in plain(cell)
        assert html.unescape(re.sub(r"\\(.)", r"\1", plain(cell, 10**5))) == visible(cell, 10**5)


def test_a_folder_of_pictures_may_have_any_name(told):
    text = markdown(told, "my pictures (1)").pop(f"{told.name}.md").decode()
    assert "](my%20pictures%20%281%29/chart-1.svg)" in text
    assert "](my pictures" not in text


def test_notes_are_no_decisions(full, tiny_case):
    Review(full.root / "cases" / tiny_case.name / "review.sqlite").label(
        [tiny_case.artefacts["data"]["pairs"]["id"].iloc[0]], None, "me", "odd"
    )
    text = Strict(drawn(contents.report(full, tiny_case.name))).text
    assert "All 1 decisions and notes" in text


def test_what_is_not_there_is_said(tiny_store, tiny_case, tmp_path):
    with pytest.raises(BadInput, match="unknown case 'none'"):
        contents.report(tiny_store, "none")
    store = Store(tmp_path / "cache")
    record = tiny_store.record(tiny_case.name)
    for stage in ("attack", "data", "score", "split"):
        key = record.artefacts[stage]
        (store.root / "artefacts" / key).symlink_to((tiny_store.root / "artefacts" / key).resolve())
    store.save_case("part", record.changed(state="cancelled"))
    part = contents.report(store, "part")
    assert "have not been run" in part.sections[0].blocks[0].text
    assert [s.title for s in part.sections if s.title in ("Separation", "Before and after", "Words and patches")] == [
        "Separation"
    ]
    assert not Strict(drawn(part)).bad
    assert "no point" in drawn(Report("t", "a", [Section("s", [Cards([Card(None, [], [])]), Said("no point")])]))


def test_an_audit_is_told_without_any_truth(tiny_audit):
    store, case, _ = tiny_audit
    told = contents.report(store, case.name)
    text = Strict(drawn(told)).text
    assert "ground truth)" not in text
    assert not {"poisoned", "recall of all poisons"} & {
        c for b in blocks(told) if isinstance(b, Table) for c in b.columns
    }
    assert "What was planted" not in text
    assert "Estimates of the imported model" in text
    assert "SHA-256 of its weights" in text
    assert {"model audited", "clean reference", "pairs, as imported"} <= {
        r[0] for b in blocks(told) if isinstance(b, Table) for r in b.rows
    }


def test_the_command_writes_both_kinds(full, tiny_case, told, tmp_path, monkeypatch):
    run = CliRunner().invoke
    monkeypatch.setattr(contents, "report", lambda store, name: told)
    made = run(app, ["report", tiny_case.name, "--cache", str(full.root), "--out", str(tmp_path / "a.html")])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "a.html").stat().st_size < 5_000_000
    assert (
        run(
            app,
            ["report", tiny_case.name, "--cache", str(full.root), "--format", "md", "--out", str(tmp_path / "b.md")],
        ).exit_code
        == 0
    )
    text = (tmp_path / "b.md").read_text()
    assert all((tmp_path / name).is_file() for name in re.findall(r"\]\((b-files/[^)]*)\)", text))
    assert isinstance(
        run(app, ["report", tiny_case.name, "--cache", str(full.root), "--format", "pdf"]).exception, BadInput
    )
