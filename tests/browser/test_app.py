"""The app in a real Chromium: run, look, move, unlearn, reload; two tabs, kills, damage, hostile captions."""

import json
import os
import re
import signal
import time
import zipfile
from pathlib import Path

import pandas as pd
from harness import counts, finished, go, no_traceback, press
from PIL import Image
from tiny import CPU, begun, fingerprints, recorded, tiny

from ubt.cases import events
from ubt.cases.pipeline import create
from ubt.cli.app_in_browser import free_port, serve, served, settle
from ubt.core.files import file_digest
from ubt.workflows import jobs

LIMIT = 90_000


def test_run_look_move_unlearn_reload(app, store, tab, tiny_case):
    scores, later = ("score", "score_overfit"), ("unlearn", "evaluate_purified", "judge")
    name = begun(store, tiny_case, *scores, "select", "flag", "mask", *later)
    address = app(store.root)
    tab.goto(f"{address}/separation")
    tab.get_by_text("not been scored yet").wait_for()
    press(tab, "Run up to score")
    tab.locator(".js-plotly-plot").first.wait_for()
    assert "D_susp: lowest 12 %" in counts(tab)
    tab.get_by_text("partly run").wait_for()
    tab.locator(".js-plotly-plot").nth(1).wait_for()
    press(tab, "Run up to score_overfit")
    tab.locator(".ubt-card").first.wait_for()
    assert tab.locator(".ubt-card").count() == 4

    before = counts(tab)
    fraction = tab.locator("[data-testid=stSlider] input[type=range]").first
    fraction.focus()
    for _ in range(8):
        tab.keyboard.press("ArrowRight")
    tab.get_by_text("D_susp: lowest 16 %").wait_for()
    assert counts(tab) != before

    go(tab, "Unlearn")
    press(tab, "Unlearn")
    tab.get_by_text("Take the purified model with you").wait_for()
    settle(tab)
    values = [v.inner_text().strip() for v in tab.locator("[data-testid=stMetricValue]").all()]
    m = store.case(name).metrics
    assert values[:3] == [
        f"{m['purified']['asr']:.2f}",
        f"{m['purified']['ca']:.2f}",
        f"{m['purified']['target_recall']:.1f}",
    ]
    with tab.expect_download() as download:
        press(tab, "Purified, ours (zip)")
    with zipfile.ZipFile(download.value.path()) as z:
        assert sorted(n.split("/")[1] for n in z.namelist()) == [
            "card.json",
            "open_clip_config.json",
            "open_clip_model.safetensors",
        ]

    tab.reload()
    tab.get_by_text("Take the purified model with you").wait_for()
    settle(tab)
    assert [v.inner_text().strip() for v in tab.locator("[data-testid=stMetricValue]").all()] == values
    assert f"case={name}" in tab.url
    go(tab, "Overview")
    tab.get_by_text("This model is judged poisoned").wait_for()
    finished(tab)
    no_traceback(tab)
    assert recorded(store, name) == fingerprints(tiny_case)


def test_a_first_start_asks_nothing_and_prints_the_address(store, tmp_path, monkeypatch, tab):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with served(store.root, tmp_path / "log") as address:
        tab.goto(f"{address}/unlearn")
        tab.get_by_role("heading", level=1, name="Unlearn").wait_for()
        tab.locator("[data-testid=stSidebar]").get_by_text("Made by python -m ubt built-in").wait_for()
        said = (tmp_path / "log").read_text()
        assert address in said
        assert "mail" not in said.lower()
        port = int(address.rsplit(":", 1)[1])
        listening = [
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
        ]
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
    assert not (tmp_path / "home" / ".streamlit" / "credentials.toml").exists()


def test_a_case_by_form_a_copy_and_its_deletion(app, full, tab, tiny_case):
    address = app(full.root)
    tab.goto(f"{address}/overview?case={tiny_case.name}")
    press(tab, "Duplicate…")
    assert "Page not found" not in tab.locator("body").inner_text()
    seed = tab.locator('[role=dialog] input[aria-label="Seed"]')
    seed.fill("7")
    seed.press("Enter")
    tab.get_by_role("dialog").get_by_text("Takes ").wait_for()
    settle(tab)
    assert full.names() == [tiny_case.name]
    press(tab, "Keep for later")
    tab.get_by_text("not run yet").wait_for()
    (other,) = set(full.names()) - {tiny_case.name}
    assert full.record(other).settings["seed"] == 7
    assert full.record(other).settings["data"]["pairs"] == 600
    press(tab, "Delete…")
    tab.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    finished(tab)
    assert full.names() == [tiny_case.name]
    no_traceback(tab)


def test_the_trigger_lab_redraws_exports_and_starts_a_case(app, store, tab):
    address = app(store.root)
    tab.goto(f"{address}/triggers")
    tab.locator(".ubt-trio img").first.wait_for()
    settle(tab)
    before = tab.locator(".ubt-trio img").nth(1).get_attribute("src")
    side = tab.locator("[data-testid=stSlider] input[type=range]").first
    side.focus()
    for _ in range(10):
        tab.keyboard.press("ArrowRight")
    settle(tab)
    assert tab.locator(".ubt-trio img").nth(1).get_attribute("src") != before
    with tab.expect_download() as download:
        press(tab, "Export as PNG")
    with Image.open(download.value.path()) as picture:
        assert picture.format == "PNG"
        assert picture.width > 500
    press(tab, "Keep a case for later")
    tab.get_by_role("heading", name="Overview").wait_for()
    tab.get_by_text("not run yet").wait_for()
    no_traceback(tab)
    (name,) = store.names()
    assert store.record(name).settings["badnet"]["side"] > 0.15


def test_words_and_patches_move_with_caption_and_threshold_and_are_exported(app, full, tab, tiny_case):
    address = app(full.root)
    tab.goto(f"{address}/separation?case={tiny_case.name}")
    tab.get_by_role("link", name="Look at its words and patches").click()
    tab.get_by_role("heading", level=1, name="Tokens").wait_for()
    tab.locator(".ubt-pictures img").first.wait_for()
    settle(tab)
    first = tiny_case.artefacts["select"]["topk"]["id"].iloc[0]
    assert f"pair={first}" in tab.url
    assert f"case={tiny_case.name}" in tab.url
    said = tiny_case.artefacts["data"]["pairs"].set_index("id")["caption"][first]
    assert set(said.split()) <= set(re.findall("[a-z]+", tab.locator(".ubt-words").nth(2).inner_text()))
    before = tab.locator(".ubt-pictures img").nth(1).get_attribute("src")
    box = tab.get_by_label("Caption: edit it")
    box.fill("an owl on a table")
    box.press("Enter")
    tab.get_by_text("The caption was edited").wait_for()
    settle(tab)
    assert "owl" in tab.locator(".ubt-words").first.inner_text()
    assert tab.locator(".ubt-pictures img").nth(1).get_attribute("src") != before
    kept = counts(tab)
    tab.locator("[data-testid=stSlider] input[type=range]").nth(1).focus()
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
    settle(tab)
    assert counts(tab) != kept
    for kind, start in (("PNG", b"\x89PNG"), ("SVG", b"<?xml"), ("HTML", b"<!doctype html>")):
        tab.get_by_role("radio", name=kind).click()
        settle(tab)
        for name in ("Words (as Fig. 5)", "Images (as Fig. 8)"):
            with tab.expect_download() as download:
                tab.get_by_text(name).click()
            assert Path(download.value.path()).read_bytes().startswith(start)
    no_traceback(tab)


def test_two_tabs_press_run_and_one_job_runs(app, store, chrome):
    name = create(store, tiny(), CPU)
    address = app(store.root)
    tabs = [chrome.new_page() for _ in range(2)]
    for tab in tabs:
        tab.set_default_timeout(LIMIT)
        tab.goto(address)
        tab.get_by_role("button", name="Run", exact=True).wait_for()
    for tab in tabs:
        press(tab, "Run")
    for tab in tabs:
        tab.locator(".stMarkdownBadge", has_text="running").wait_for()
    cancel = tabs[0].get_by_role("button", name="Cancel")
    as_it_appears = "e => { e.style.animation = 'none'; e.offsetWidth; e.style.animation = '';"
    assert cancel.evaluate(f"{as_it_appears} return getComputedStyle(e).pointerEvents; }}") == "none"
    press(tabs[0], "Cancel")
    for tab in tabs:
        tab.get_by_text("cancelled").wait_for()
        no_traceback(tab)
        tab.close()
    assert [e.kind for e in events.read(store.journal(name))].count("run") == 1


def test_a_case_deleted_in_another_tab_is_said(app, full, tab, tiny_case):
    address = app(full.root)
    tab.goto(f"{address}/separation")
    tab.locator(".ubt-card").first.wait_for()
    full.delete(tiny_case.name)
    tab.get_by_text("There is no case").wait_for()
    no_traceback(tab)


def test_a_damaged_result_is_said_and_made_again(app, full, tab, tiny_case):
    path = full.root / "artefacts" / tiny_case.artefacts["score"].path.name / "similarity.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    address = app(full.root)
    tab.goto(f"{address}/separation")
    tab.get_by_text("A result on disk is damaged").wait_for()
    press(tab, "Set it aside and make it again")
    tab.locator(".ubt-card").first.wait_for()
    no_traceback(tab)
    assert file_digest(path) == tiny_case.artefacts["score"].manifest["files"]["similarity.parquet"]["sha256"]


def test_hostile_captions_stay_text(app, full, tab, tiny_case):
    hostile = (
        '<img src="http://evil.example/x.png" onerror="alert(1)"><script>alert(2)</script>'
        " ![x](http://evil.example/y.png)"
    )
    folder = full.root / "artefacts" / tiny_case.artefacts["data"].path.name
    pd.read_parquet(folder / "pairs.parquet").assign(caption=hostile).to_parquet(folder / "pairs.parquet", index=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["pairs.parquet"] = {
        "bytes": (folder / "pairs.parquet").stat().st_size,
        "sha256": file_digest(folder / "pairs.parquet"),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    full.save_case(tiny_case.name, full.record(tiny_case.name).changed(state="failed", error=hostile))
    address = app(full.root)
    tab.goto(f"{address}/separation?case={tiny_case.name}")
    tab.locator(".ubt-card").first.wait_for()
    assert hostile in tab.locator(".ubt-card").first.inner_text()
    assert hostile in tab.locator("[data-testid=stSidebar] [data-testid=stAlert]").inner_text()
    tab.goto(f"{address}/tokens?case={tiny_case.name}")
    tab.locator(".ubt-words").first.wait_for()
    assert "<script>" in tab.locator(".ubt-words").first.inner_text()
    tab.goto(f"{address}/?case=<script>alert(3)</script>![x](http://evil.example/z.png)")
    tab.get_by_text("There is no case").wait_for()
    settle(tab)


def test_app_and_job_killed_it_resumes_to_the_same_result(store, tab, tmp_path, tiny_case):
    name, port = begun(store, tiny_case, "poison", "unlearn", "judge"), free_port()
    app = serve(store.root, port, tmp_path / "log")
    try:
        tab.goto(f"http://127.0.0.1:{port}")
        press(tab, "Run")
        deadline = time.monotonic() + 120
        while jobs.status(store, name).steps["poison"].state == "missing" and time.monotonic() < deadline:
            time.sleep(0.02)
        app.kill()
        app.wait()
        assert jobs.status(store, name).running, "the job outlives its app"
        os.kill(
            int(re.search(r"process (\d+)", (store.root / "work" / f"{name}.owner").read_text())[1]), signal.SIGKILL
        )
        app = serve(store.root, port, tmp_path / "log")
        tab.goto(f"http://127.0.0.1:{port}/?case={name}")
        tab.get_by_text("interrupted").wait_for()
        press(tab, "Resume")
        tab.locator(".stMarkdownBadge", has_text="running").wait_for()
        finished(tab)
        no_traceback(tab)
    finally:
        app.kill()
        app.wait()
    assert recorded(store, name) == fingerprints(tiny_case)
