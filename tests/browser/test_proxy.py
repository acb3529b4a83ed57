"""The documented nginx server before the app: a base path, a websocket, a log-in, and what each role sees."""

import re
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from harness import ROOT, go

from ubt.cli.app_in_browser import free_port, serve, settle
from ubt.pairs.annotations import Review

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
OURS = {"ana@team.example": "{PLAIN}ana", "bo@team.example": "{PLAIN}bo"}


@contextmanager
def proxied(folder, app: int, port: int):
    """The documented server, on loopback without TLS, before the app's port."""
    text = (ROOT / "ubt/docs/reference.md").read_text().split("```nginx\n")[1].split("```")[0]
    (folder / "users").write_text("".join(f"{name}:{password}\n" for name, password in OURS.items()))
    for wanted, here in (
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        (r" *ssl_certificate.*\n", ""),
        (r"server_name team\.example;", "server_name localhost;"),
        (r"/etc/nginx/ubt\.htpasswd", str(folder / "users")),
        (r"127\.0\.0\.1:8501", f"127.0.0.1:{app}"),
    ):
        text, count = re.subn(wanted, here, text)
        assert count
    paths = "".join(f"{n}_temp_path {folder / n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {paths} include /etc/nginx/mime.types;\n{text}}}\n"
    )
    process = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")])
    try:
        yield f"http://localhost:{port}/ubt/"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.skipif(NGINX is None, reason="no nginx on this machine (Debian: apt-get install nginx-light)")
def test_the_documented_proxy_logs_in_and_gives_each_their_role(full, tmp_path, monkeypatch, chrome):
    monkeypatch.setenv("UBT_ANALYSTS", "ana@team.example")
    monkeypatch.setenv("STREAMLIT_SERVER_TRUSTED_USER_HEADERS", '{"X-Remote-User": "email"}')
    app, port = free_port(), free_port()
    process = serve(full.root, app, tmp_path / "log", "ubt")
    name = full.names()[0]
    try:
        with proxied(tmp_path, app, port) as address:
            for who, may in (("bo", False), ("ana", True)):
                with chrome.new_context(http_credentials={"username": f"{who}@team.example", "password": who}) as seen:
                    tab = seen.new_page()
                    tab.set_default_timeout(90_000)
                    tab.set_extra_http_headers({"X-Remote-User": "ana@team.example"})
                    tab.goto(f"{address}?case={name}")
                    tab.get_by_text(f"{who}@team.example, {'analyst' if may else 'reader'}").wait_for()
                    assert tab.get_by_role("button", name="New case").is_enabled() == may
                    go(tab, "Separation")
                    tab.locator(".js-plotly-plot").first.wait_for()
                    assert f"/ubt/separation?case={name}" in tab.url
                    go(tab, "Review")
                    if may:
                        settle(tab)
                        tab.keyboard.press("1")
                        tab.get_by_text("1 of", exact=False).first.wait_for()
                    else:
                        tab.get_by_text("Analysts decide here").wait_for()
            with chrome.new_context() as seen:
                assert seen.request.get(address).status == 401
    finally:
        process.terminate()
        process.wait(timeout=30)
    labels = Review(full.root / "cases" / name / "review.sqlite").labels()
    assert labels[["label", "who"]].values.tolist() == [["backdoor", "ana@team.example"]]
