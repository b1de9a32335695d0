"""The examples for proxies, run in front of the service: what a browser elsewhere gets, and what it does not get."""

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

DEPLOY = Path(__file__).parents[1] / "deploy"
SITE = "localhost"
START_SECONDS = 60  # at most, on a machine that is busy
PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"  # where Debian has nginx
NOTHING: Mapping[str, str] = {}
Proxy = Callable[[Path, int, int], list[str]]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def certificate(folder: Path) -> None:
    """Make a certificate for the site, signed by itself."""
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "site.key"), "-out", str(folder / "site.pem")]
    name = ["-subj", f"/CN={SITE}", "-addext", f"subjectAltName=DNS:{SITE}", "-days", "2"]
    subprocess.run(["openssl", "req", "-x509", *key, *name], check=True, capture_output=True)  # noqa: S607


def caddy(folder: Path, port: int, upstream: int) -> list[str]:
    """The example with a certificate of our own, without ports for everybody, and one more machine, which is down."""
    text = (DEPLOY / "Caddyfile").read_text()
    own = f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}/storage\n}}\n"
    site = f"{SITE}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/site.pem {folder}/site.key\n"
    changed = text.replace("{$SITE:localhost} {\n", site)
    changed = changed.replace("{$UPSTREAM:127.0.0.1:4008}", f"127.0.0.1:{free_port()} 127.0.0.1:{upstream}")
    (folder / "Caddyfile").write_text(own + changed)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def nginx(folder: Path, port: int, upstream: int) -> list[str]:
    """The example, in a folder and on ports of our own, with one more machine: it is down."""
    text = (DEPLOY / "nginx.conf").read_text()
    for written, ours in {
        "server 127.0.0.1:4008;": f"server 127.0.0.1:{free_port()}; server 127.0.0.1:{upstream};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "study.example.org;": f"{SITE};",
        "/etc/ssl/study.example.org.pem": f"{folder}/site.pem",
        "/etc/ssl/study.example.org.key": f"{folder}/site.key",
    }.items():
        assert written in text
        text = text.replace(written, ours)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root; " if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{text}\n}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", f"{folder}/error.log"]


class Browser:
    """Asks over https, and keeps what it is told to."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._trusted = ssl.create_default_context(cafile=str(folder / "site.pem"))

    def ask(
        self, method: str, path: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] = NOTHING
    ) -> tuple[int, list[tuple[str, str]], str]:
        """Send a request; status, headers and body of the answer."""
        connection = http.client.HTTPSConnection(SITE, self.port, timeout=30, context=self._trusted)
        body = urlencode(form) if form is not None else None
        own = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
        connection.request(method, path, body, own | dict(headers))
        answer = connection.getresponse()
        said = answer.read().decode()
        connection.close()
        return answer.status, answer.getheaders(), said


def until_it_answers(browser: Browser, processes: list["subprocess.Popen[bytes]"]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert all(process.poll() is None for process in processes), "a process has ended"
        try:
            if browser.ask("GET", "/healthz")[0] == 200:
                return
        except OSError:
            assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in reversed(processes):
        process.terminate()
        process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [caddy, nginx], ids=["caddy", "nginx"])
def test_behind_the_example_a_browser_signs_in_though_another_machine_is_down_and_what_is_inside_stays_inside(
    environment: Path, tmp_path: Path, started: list["subprocess.Popen[bytes]"], proxy: Proxy
) -> None:
    program = shutil.which(proxy.__name__, path=PATH)
    if program is None or shutil.which("openssl") is None:
        pytest.skip(f"{proxy.__name__} or openssl is not installed")
    certificate(tmp_path)
    port, upstream = free_port(), free_port()
    served = {"ALLOWED_HOSTS": SITE, "FORWARDED_ALLOW_IPS": "127.0.0.1", "REGISTRATIONS_PER_ADDRESS": "100"}
    command = [sys.executable, "-m", "app", "serve", "--port", str(upstream)]
    started.append(subprocess.Popen(command, env=os.environ | served))
    _, *arguments = proxy(tmp_path, port, upstream)
    with (tmp_path / "proxy.log").open("wb") as log:
        started.append(subprocess.Popen([program, *arguments], env=os.environ | {"HOME": str(tmp_path)}, stderr=log))
    browser = Browser(port, tmp_path)
    until_it_answers(browser, started)

    for inside in ("/metrics", "/readyz", "/metrics/", "//metrics", "/%6detrics", "/./metrics", "/readyz/"):
        assert browser.ask("GET", inside)[0] == 404, inside

    site = f"https://{SITE}:{port}"
    own = {"Origin": site}
    account = {"email": "ada@example.com", "password": "seven grey herons by the weir"}
    status, headers, said = browser.ask("POST", "/register", account, own)
    assert (status, dict(headers).get("Location", dict(headers).get("location"))) == (303, "/dashboard"), said
    cookies = [value for name, value in headers if name.lower() == "set-cookie"]
    assert cookies
    assert all("; Secure" in cookie for cookie in cookies)
    assert dict(headers).get("Strict-Transport-Security", dict(headers).get("strict-transport-security"))

    signed_in = {"Cookie": "; ".join(cookie.partition(";")[0] for cookie in cookies)}
    task = {"topic": "Calculus", "difficulty": "medium"}
    status, _, said = browser.ask("POST", "/dashboard/tasks", task, own | signed_in)
    assert status == 303, said
    assert "Calculus" in browser.ask("GET", "/dashboard/tasks", headers=signed_in)[2]
    assert browser.ask("POST", "/dashboard/tasks", task, signed_in | {"Origin": "https://evil.example"})[0] == 403
    status, _, said = browser.ask("GET", "/", headers={"Host": "evil.example"})
    assert status == 400 or not said  # Caddy has nothing to say for another site

    limits = [
        browser.ask(
            "POST",
            "/auth/token",
            {"username": "ada@example.com", "password": "wrong"},
            {"X-Forwarded-For": f"9.9.9.{k}"},
        )
        for k in range(11)
    ]
    assert limits[-1][0] == 429, "a caller names its own address"
    assert json.loads(limits[-1][2])["status"] == 429


@pytest.mark.parametrize("name", [file.name for file in DEPLOY.glob("*.service")])
def test_systemd_understands_the_example(tmp_path: Path, name: str) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("systemd is not installed")
    unit = (DEPLOY / name).read_text().replace("/opt/smartstudy/bin/smartstudy", sys.executable)
    (tmp_path / name).write_text(unit)
    done = subprocess.run(
        [systemd, "verify", "--man=no", str(tmp_path / name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert name not in done.stderr, done.stderr
