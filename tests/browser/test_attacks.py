"""What somebody tries who is not meant to use the app, against the running one. Each attempt is refused, and the table
of them, with the time that each takes, is printed (`pytest -s tests/browser/test_attacks.py`).
"""

import http.client
import http.server
import statistics
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from harness import ROOT

from ubt.cli.app_in_browser import served, settle

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "streamlit",
}
ROUTES = ("/", "/review", "/_stcore/health", "/_stcore/host-config", "/media/x.png", "/static/js/x.js")
CLOSED = (
    "/_stcore/metrics",
    "/_stcore/%6detrics",
    "/_stcore/metrics/",
    "/_stcore/metrics?family=session",
    "/_stcore/script-health-check",
    "/_stcore/agent",
    "/_stcore/agent/mcp",
    "/_stcore/agent/schema",
    "/component/x/index.html",
    "/app/static/x",
)
OUTSIDE = (
    "/static/../../app.py",
    "/static/..%2f..%2fapp.py",
    "/static/%2e%2e/%2e%2e/requirements.txt",
    "/media/../../../etc/passwd",
    "/media/..%2f..%2f..%2fetc%2fpasswd",
    "/_stcore/bidi-components/..%2f..%2fapp.py",
    "/_stcore/bidi-components/x/%2e%2e/%2e%2e/etc/passwd",
    "//etc/passwd",
    "/..%5c..%5capp.py",
    "/static/%00",
)
LINKS = (
    "?case=../../../../etc/passwd",
    "?case=<script>alert(1)</script>",
    "?case=%00&run=1&delete=1",
    "?run=true&live=1&confirm=yes&key=live-first",
    "review?select=__import__('os').system('touch x')",
    f"map?select={'(' * 3000}",
    "separation?fraction=1e999&threshold=NaN&k=-1",
    "data?part=case&path=/etc/passwd&source=/etc/passwd",
    "check?pairs=/etc/passwd&model=../../etc/passwd&reference=<script>alert(1)</script>&labels=%00&run=1",
    "tokens?pair=[a](http://evil.example/x.png)![b](http://evil.example/y.png)",
    "help?q=<img src=x onerror=alert(1)>",
)
SECRETS = b"root:", b"streamlit>=", b"navigation()", b"st_script_run"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Another local page's server."""

    def log_message(self, *arguments: object) -> None:
        pass


class Attempts:
    """Attempts against a running app, by what they are about."""

    def __init__(self, address: str, cache: Path, log: Path):
        self.host, self.cache, self.log, self.count = urlsplit(address).netloc, cache, log, Counter()
        self.port = self.host.split(":")[1]
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection(self.host, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": self.host} | {k.replace("_", "-"): v for k, v in headers.items()}).items():
            for one in value if isinstance(value, tuple) else (value,):
                connection.putheader(name, one)
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        answer = connection.getresponse()
        read = answer.read() if answer.status != 101 else b""
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, read

    def refused(self, about: str, path: str, statuses: tuple[int, ...], **more) -> None:
        started = time.perf_counter()
        status, _, body = self.ask(path, **more)
        self.seconds[about].append(1000 * (time.perf_counter() - started))
        assert status in statuses, (about, path, more, status, body[:200])
        assert not any(secret in body for secret in SECRETS), (about, path, body[:200])

    def table(self) -> str:
        rows = [
            f"{about:9} {len(ms):4d} attempts, {statistics.median(ms):5.1f} ms, at most {max(ms):5.1f}"
            for about, ms in self.seconds.items()
        ]
        return "\n".join([*rows, *(f"{about:9} {n:4d} refused or without effect" for about, n in self.count.items())])


@pytest.fixture(scope="module")
def attempts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    with served(folder / "cache", folder / "log") as address:
        made = Attempts(address, folder / "cache", folder / "log")
        yield made
        print(f"\n{made.table()}")
        log = (folder / "log").read_text()
        assert "Traceback" not in log
        assert log.count("Refused a request") <= 100


def test_only_its_own_hosts_are_answered(attempts):
    hosts = (
        "evil.example",
        f"evil.example:{attempts.port}",
        f"127.0.0.1.evil.example:{attempts.port}",
        f"127.0.0.1:{attempts.port}@evil.example",
        f"localhost.:{attempts.port}x",
        "127.0.0.2",
        "0.0.0.0",
        "[::1]",
        "",
        "local host",
        "\xe4.example",
    )
    for host in hosts:
        for route in ROUTES:
            attempts.refused("hosts", route, (421, 400), Host=host)
        attempts.refused("hosts", "/_stcore/stream", (403, 421, 400), Host=host, **UPGRADE)
    attempts.refused("hosts", "/", (421, 400), Host=(attempts.host, "evil.example"))
    assert "--server.allowedHosts evil.example" in attempts.log.read_text()
    for host in (attempts.host, f"localhost:{attempts.port}", "LOCALHOST", "localhost."):
        assert attempts.ask("/_stcore/health", Host=host)[0] == 200
        assert attempts.ask("/_stcore/stream", Host=host, **UPGRADE)[0] == 101


def test_pages_of_other_origins_get_nothing(attempts):
    origins = (
        "http://evil.example",
        "https://evil.example",
        f"http://127.0.0.1:{int(attempts.port) + 1}",
        f"http://localhost:{attempts.port}",
        "http://localhost",
        "http://0.0.0.0",
        f"http://{attempts.host}.evil.example",
        f"http://evil.example@{attempts.host}",
        f"file://{attempts.host}",
        "null",
        "",
        "http://[",
    )
    for origin in origins:
        for route in ROUTES:
            attempts.refused("origins", route, (403,), Origin=origin)
        attempts.refused("origins", "/_stcore/stream", (403,), Origin=origin, **UPGRADE)
        for method in ("PUT", "DELETE", "OPTIONS"):
            attempts.refused("origins", "/_stcore/upload_file/s/f", (403,), method=method, Origin=origin)
    attempts.refused("origins", "/", (403,), Origin=(f"http://{attempts.host}", "http://evil.example"))
    spelled = f"LOCALHOST:{attempts.port}"  # Streamlit would take the origin for another's and ask the internet
    attempts.refused("origins", "/_stcore/stream", (403,), Host=spelled, Origin=f"http://{spelled.lower()}", **UPGRADE)
    for own in (f"http://{attempts.host}", f"https://{attempts.host}"):
        assert attempts.ask("/_stcore/stream", Origin=own, **UPGRADE)[0] == 101
        assert attempts.ask("/", Origin=own)[0] == 200


def test_what_is_not_needed_is_closed(attempts):
    for path in CLOSED:
        for method in ("GET", "POST", "OPTIONS"):
            attempts.refused("closed", path, (404, 405), method=method)


def test_no_path_leads_out(attempts):
    for path in OUTSIDE:
        attempts.refused("paths", path, (200, 400, 403, 404))


def test_uploads_need_a_session_and_its_token(attempts):
    for path in ("/_stcore/upload_file/none/none", "/_stcore/upload_file/..%2f/x", "/_stcore/upload_file/a/b"):
        attempts.refused("uploads", path, (400, 403, 404), method="PUT", body=b"x")
        attempts.refused("uploads", path, (400, 403, 404), method="DELETE")


def test_every_answer_has_the_headers(attempts):
    paths = (*ROUTES, *CLOSED[:3], *OUTSIDE[:3])
    for path, more in [(p, {}) for p in paths] + [("/", {"Host": "evil.example"}), ("/", {"Origin": "null"})]:
        headers = attempts.ask(path, **more)[1]
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers.get("access-control-allow-origin") in (None, f"http://{attempts.host}")


def test_another_page_can_neither_frame_nor_open_nor_read_it(attempts, chrome, tmp_path):
    app = f"http://{attempts.host}"
    (tmp_path / "evil.html").write_text(
        f"""<iframe id=f src="{app}/"></iframe><script>
        window.got = [];
        fetch("{app}/_stcore/host-config").then(() => got.push("read"), () => got.push("refused"));
        const socket = new WebSocket("ws://{attempts.host}/_stcore/stream", ["streamlit"]);
        socket.onopen = () => got.push("open"); socket.onerror = () => got.push("closed");
        </script>"""
    )
    serve = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        page = chrome.new_page()
        page.goto(f"http://127.0.0.1:{other.server_address[1]}/evil.html")
        page.wait_for_function("got.length == 2")
        assert sorted(page.evaluate("got")) == ["closed", "refused"]
        assert page.frames[-1].url == "chrome-error://chromewebdata/"
        attempts.count["framing, reading and driving from another page"] += 3
        page.close()
        other.shutdown()


def test_a_page_of_the_app_keeps_its_own_rules(attempts, chrome):
    page, said = chrome.new_page(), []
    page.on("console", lambda m: said.append(m.text))
    page.goto(f"http://{attempts.host}/triggers")
    page.get_by_role("heading", level=1, name="Triggers").wait_for()
    settle(page)
    assert not [text for text in said if "Content Security Policy" in text]
    for url in ("https://evil.example/x.png", f"http://127.0.0.1:{int(attempts.port) + 1}/x.png"):
        page.evaluate("url => { const i = new Image(); i.src = url; document.body.append(i); }", url)
    page.wait_for_timeout(500)
    assert len([text for text in said if "Content Security Policy" in text]) == 2
    page.close()


def test_a_link_shows_and_starts_nothing(attempts, chrome):
    page, said = chrome.new_page(), []
    page.on("dialog", lambda d: said.append(d.message))
    page.on(
        "request",
        lambda r: None if f"//{attempts.host}/" in r.url or r.url[:5] in ("data:", "blob:") else said.append(r.url),
    )
    for link in LINKS:
        page.goto(f"http://{attempts.host}/{link}")
        page.get_by_role("heading", level=1).first.wait_for()
        settle(page, 0.2)
        body = page.locator("body").inner_text()
        assert "Traceback" not in body
        assert "root:" not in body
        attempts.count["links"] += 1
    page.close()
    assert not [url for url in said if f"//{attempts.host}/" not in url and url[:5] not in ("data:", "blob:")]
    cache = attempts.cache
    assert [p.name for p in (cache / "cases").iterdir() if (p / "case.json").exists()] == []
    assert [*(cache / "work").iterdir()] == []


def test_only_files_of_the_named_folders_are_looked_at(attempts, chrome):
    page = chrome.new_page()
    page.goto(f"http://{attempts.host}/data")
    box = page.get_by_role("textbox", name="Path on this machine")
    for path in ("/etc/passwd", "/etc/nothing", "/proc/self/environ", f"{ROOT}/../../../../../../etc/shadow"):
        box.fill(path)
        box.press("Enter")
        page.get_by_text("expected a file or folder in", exact=False).filter(has_text=path[-12:]).wait_for()
        attempts.count["files of the machine"] += 1
    page.close()
