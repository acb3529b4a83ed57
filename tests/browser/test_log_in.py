"""Streamlit's log-in before the app, with a provider of OpenID Connect on loopback."""

import http.server
import json
import threading
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from harness import go

from ubt.cli.app_in_browser import free_port, serve

joserfc = pytest.importorskip("joserfc", reason='the log-in\'s extra is not installed (pip install "streamlit[auth]")')
pytest.importorskip("authlib", reason='the log-in\'s extra is not installed (pip install "streamlit[auth]")')


class Provider(http.server.ThreadingHTTPServer):
    """Logs whoever asks in at once, as `claims` say; whom it gave which code is remembered."""

    def __init__(self):
        from joserfc.jwk import RSAKey

        super().__init__(("127.0.0.1", 0), Answers)
        self.key, self.claims, self.nonces = RSAKey.generate_key(2048, {"kid": "k", "use": "sig"}), {}, {}
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def token(self, code: str) -> str:
        from joserfc import jwt

        now = int(time.time())
        about = {"iss": self.address, "aud": "ubt", "sub": "1", "iat": now, "exp": now + 600}
        return jwt.encode({"alg": "RS256", "kid": "k"}, about | self.nonces[code] | self.claims, self.key)


class Answers(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass

    def _json(self, value: dict) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def do_GET(self) -> None:
        at, to = urlsplit(self.path), self.server
        asked = {k: v[0] for k, v in parse_qs(at.query).items()}
        if at.path == "/authorize":
            code = f"code-{len(to.nonces)}"
            to.nonces[code] = {"nonce": asked["nonce"]} if "nonce" in asked else {}
            self.send_response(302)
            answer = urlencode({"code": code, "state": asked["state"]})
            self.send_header("Location", f"{asked['redirect_uri']}?{answer}")
            self.end_headers()
        elif at.path == "/jwks":
            self._json({"keys": [to.key.as_dict(private=False)]})
        else:
            self._json(
                {
                    "issuer": to.address,
                    "authorization_endpoint": f"{to.address}/authorize",
                    "token_endpoint": f"{to.address}/token",
                    "jwks_uri": f"{to.address}/jwks",
                    "id_token_signing_alg_values_supported": ["RS256"],
                }
            )

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        token = self.server.token(form["code"][0])
        self._json({"access_token": "a", "token_type": "Bearer", "expires_in": 600, "id_token": token})


@pytest.fixture
def provider():
    with Provider() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def test_a_log_in_gives_each_their_role(full, tmp_path, monkeypatch, chrome, provider):
    port = free_port()
    (tmp_path / "secrets.toml").write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\ncookie_secret = "{"x" * 40}"\n'
        f'client_id = "ubt"\nclient_secret = "y"\n'
        f'server_metadata_url = "{provider.address}/.well-known/openid-configuration"\n'
    )
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(tmp_path / "secrets.toml"))
    monkeypatch.setenv("UBT_ANALYSTS", "ana@team.example")
    process = serve(full.root, port, tmp_path / "log")
    try:
        for claims, said in (
            ({"email": "ana@team.example", "email_verified": True}, "ana@team.example, analyst"),
            ({"email": "bo@team.example"}, "bo@team.example, reader"),
            ({"email": "ana@team.example", "email_verified": False}, "has not verified"),
        ):
            provider.claims = claims
            with chrome.new_context() as seen:
                tab = seen.new_page()
                tab.set_default_timeout(90_000)
                tab.goto(f"http://127.0.0.1:{port}/separation?case={full.names()[0]}")
                tab.get_by_text("Log in to look").wait_for()
                assert not tab.locator(".js-plotly-plot").count()
                tab.get_by_role("button", name="Log in").click()
                tab.get_by_text(said).wait_for()
                if "verified" not in said:
                    go(tab, "Separation")
                    tab.locator(".js-plotly-plot").first.wait_for()
                    tab.get_by_role("button", name="Log out").click()
                    tab.get_by_text("Log in to look").wait_for()
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert "Traceback" not in (tmp_path / "log").read_text()
