"""The dashboard as it is run and called: real servers, real requests, and processes that live or do not."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import inprocess
import pytest
from boards import PROBLEM, Board, closed, detached, foreground, half_sent
from toolbox import PYTHON, Scratch, Stage, answers, being, eventually, expect_gone, free_port

from devtasks.dashboard import command, openapi, routes
from devtasks.dashboard.credentials import ONE_TIME_SECONDS, one_time
from devtasks.dashboard.protocol import CONNECTIONS


@pytest.fixture(scope="module")
def board(module_stage: Stage) -> Iterator[Board]:
    """A dashboard in the background, of a project whose web and worker run. Whoever uses it leaves them alone."""
    scratch = Scratch(module_stage, module_stage.folder.parent / "shop")
    scratch.declare(
        {
            "web": scratch.server("--name", "web"),
            "worker": {"command": [PYTHON, "main.py", "--name", "worker"]},
            "idle": {"command": "sleep 600"},
        }
    )
    scratch.start("web", "worker")
    yield detached(scratch)
    scratch.run("force-clean")


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    scratch.declare({"web": scratch.server("--name", "web")})
    return scratch


# --- who may ---------------------------------------------------------------------------------------------

GETS = [route.path for route in routes.ROUTES if route.method == "GET"]
POSTS = [route.path for route in routes.ROUTES if route.method == "POST"]


def filled(path: str, board: Board) -> str:
    port = json.loads(json.dumps(board.row("web")))["ports"][0] if "{port}" in path else 0
    return path.replace("{name}", "web").replace("{port}", str(port))


@pytest.fixture(scope="module")
def used(board: Board) -> str:
    """A one-time token that was used."""
    token = one_time(board.token, time.time())
    answer = board.ask("POST", "/api/session", board.change, json.dumps({"token": token}))
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"devtasks_{board.port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/api"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    return token


@pytest.fixture(scope="module")
def cookie(board: Board) -> dict[str, str]:
    return board.signed_in()


@pytest.mark.parametrize("path", [*GETS, *POSTS])
def test_nothing_is_answered_or_done_for_whom_it_is_not(
    board: Board, used: str, cookie: dict[str, str], path: str
):
    """Every route by everybody who may not: refused, and what runs goes on running."""
    before = {row["name"]: row["pid"] for row in board.get("/api/services")["services"]}
    living = [being(pid) for pid in before.values() if pid is not None]
    assert len(living) == 2
    where, post = filled(path, board), path in POSTS
    method, body = ("POST", "{}") if post else ("GET", None)
    needed = board.change if post else {}
    bearer = {**board.bearer, **needed}

    def refused(
        kind: str,
        headers: Mapping[str, str],
        *,
        host: str | None = None,
        method: str = method,
        body: str | None = body,
    ) -> None:
        answer = board.ask(method, where, headers, body, host=host)
        said = f"{method} {where} {dict(headers)} {host}: {answer}"
        assert 400 <= answer.status < 500, said
        assert method == "HEAD" or answer.problem == kind, said
        assert not any(name.startswith("access-control") for name in answer.headers), said
        assert {row["name"]: row["pid"] for row in board.get("/api/services")["services"]} == before, said

    if where != "/api/session":
        expired = one_time(board.token, time.time() - ONE_TIME_SECONDS - 5)
        for token in ("", "wrong", board.token[:-1], board.token.swapcase(), used, expired):
            refused("unauthorized", {"Authorization": f"Bearer {token}", **needed})
        refused("unauthorized", needed)
        refused("unauthorized", {"Cookie": f"devtasks_{board.port}={board.token}", **needed})
        refused("unauthorized", {"Cookie": cookie["Cookie"].replace(str(board.port), "1"), **needed})
    hosts = ("evil.example", "", "127.0.0.1", f"127.0.0.1:{board.port + 1}", f"[::1]:{board.port}", "[::1]")
    for host in (*hosts, f"localhost.evil.example:{board.port}", f"0.0.0.0:{board.port}"):
        refused("host", bearer, host=host) if host else _without_host(board, method, where, bearer)
    for origin in ("null", "http://evil.example", f"https://{board.host}", f"http://[::1]:{board.port}", ""):
        refused("origin", {**bearer, "Origin": origin})
        if where not in ("/api/session", "/metrics"):
            refused("origin", {**cookie, **needed, "Origin": origin})
    refused("origin", {**bearer, "Sec-Fetch-Site": "cross-site"})
    wrong = {"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW", "POST"} - {method}
    for other in sorted(wrong):
        refused("method", {**board.bearer, **board.change}, method=other, body=None)
    if post:
        if where != "/api/session":
            refused("origin", {**cookie, **needed})
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            refused("media-type", {**bearer, "Content-Type": kind})
        refused("header", {name: value for name, value in bearer.items() if name != "X-Devtasks"})
    assert all(one.alive for one in living)


def _without_host(board: Board, method: str, path: str, headers: Mapping[str, str]) -> None:
    """HTTP/1.1 without a Host is no HTTP/1.1."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    assert raw(board, "\r\n".join(lines).encode()).startswith(b"HTTP/1.1 400 ")


def test_with_a_cookie_and_the_pages_origin_it_works(board: Board, cookie: dict[str, str]):
    page = {**cookie, "Origin": board.origin, "Sec-Fetch-Site": "same-origin"}
    assert board.ask("GET", "/api/services", cookie).status == 200
    plan = board.ask("POST", "/api/services/web/stop", {**page, **board.change}, '{"dry_run": true}')
    assert plan.json()["services"][0]["stopped"] == [board.row("web")["pid"]]
    assert board.ask("GET", "/api/services", cookie, host=f"localhost:{board.port}").status == 200


def test_a_one_time_token_signs_in_once(board: Board, used: str):
    for token in (used, one_time(board.token, time.time() - ONE_TIME_SECONDS - 5), "x", 1, None):
        answer = board.ask("POST", "/api/session", board.change, json.dumps({"token": token}))
        assert answer.status in (400, 401)
        assert "set-cookie" not in answer.headers


def test_the_page_needs_no_token_and_runs_nothing_inline(board: Board):
    answer = board.ask("GET", "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert board.ask("HEAD", "/").body == b""
    for path in (
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static//etc/passwd",
        "/static/",
        "/static/x.js",
    ):
        assert board.ask("GET", path).problem == "unknown"
    api = board.ask("GET", "/api/services", board.bearer)
    assert api.headers["cache-control"] == "no-store"
    assert api.headers["x-content-type-options"] == "nosniff"


# --- what it says ----------------------------------------------------------------------------------------


def test_it_says_what_the_command_line_says(board: Board):
    """The same shapes and the same state as --json."""
    told, status = board.get("/api/services"), board.scratch.run("status")
    mine = {row["name"]: row for row in told["services"]}
    for row in status["services"]:
        if row["name"] in mine:
            same = ("state", "pid", "ports", "processes", "holder", "health")
            assert {key: mine[row["name"]][key] for key in same} == {key: row[key] for key in same}
            assert row.keys() <= mine[row["name"]].keys()
    assert {"web", "worker", "idle"} <= mine.keys()
    assert "dashboard" not in mine, "it does not show itself"
    seen = board.get("/api/services/web/processes")["services"][0]
    shown = board.scratch.run("show-processes", "--only", "web")["services"][0]
    assert [row["pid"] for row in seen["processes"]] == [row["pid"] for row in shown["processes"]]
    assert seen["processes"][0].keys() == shown["processes"][0].keys()
    assert {"marker", "pid-file"} <= {one["kind"] for one in seen["processes"][0]["evidence"]}
    ports = {row["port"]: row for row in board.get("/api/ports/status")["ports"]}
    assert ports[mine["web"]["ports"][0]]["state"] == "ours"
    events = board.get("/api/history?service=web")["events"]
    assert [one["kind"] for one in events][:2] == ["start", "ready"]
    assert board.get("/api/heartbeat/status")["monitor"]["state"] == "absent"
    metrics = board.get("/metrics")
    assert 'devtasks_service_up{project="shop",service="web"} 1\n' in metrics
    assert 'devtasks_service_up{project="shop",service="idle"} 0\n' in metrics


def test_problems_have_the_right_status(board: Board):
    def post(body: str | bytes, path: str = "/api/services/web/stop", **headers: str) -> tuple[int, str]:
        answer = board.ask("POST", path, {**board.bearer, **board.change, **headers}, body)
        return answer.status, answer.problem

    for bad in ("", "{", "[]", "null", '{"dry_run": 1}', '{"dry_run": true, "x": 1}', '{"timeout": "5"}', b"\xff"):
        assert post(bad) == (400, "malformed"), bad
    for bad in ('{"timeout": -1}', '{"timeout": 1e99}', '{"timeout": NaN}', "[" * 9000, '{"timeout": true}'):
        assert post(bad) == (400, "malformed"), bad
    assert post("{" + " " * 20_000 + "}") == (413, "too-large")
    chunks = b"".join(b"400\r\n" + b" " * 0x400 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    assert post(chunks, **{"Transfer-Encoding": "chunked"}) == (413, "too-large")
    unknown = ("nobody", "we", "..", "web;id", "%2e%2e", "WEB", "web%2fstop", "%00", "dashboard")
    for name in unknown:
        assert post("{}", f"/api/services/{name}/stop") == (404, "unknown"), name
    for port in ("1", "0", "65536", "-1", "22", "x", "99999999999", "%EF%BC%91"):
        assert post("{}", f"/api/ports/{port}/kill") == (404, "unknown"), port
    for query in ("lines=0", "lines=x", "lines=5001", "lines=1&lines=2", "nothing=1"):
        assert board.ask("GET", f"/api/services/web/logs?{query}", board.bearer).problem == "malformed", query
    assert board.ask("GET", "/api/events?kinds=x", board.bearer).problem == "malformed"
    assert board.ask("GET", "/api/services", board.bearer, "{}").problem == "malformed"
    assert board.ask("GET", "/api/history?service=nobody", board.bearer).problem == "unknown"
    assert "did you mean" in board.ask("GET", "/api/services/wen/logs", board.bearer).json()["detail"]
    assert board.row("web")["state"] == "running"


def raw(board: Board, data: bytes) -> bytes:
    """What comes back for bytes that need not be HTTP."""
    with socket.create_connection(("127.0.0.1", board.port), timeout=20) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        found = b""
        with suppress(ConnectionError):
            while chunk := connection.recv(65_536):
                found += chunk
        return found


def test_what_is_no_http_and_heads_that_are_too_long(board: Board):
    head = f"GET /api/services HTTP/1.1\r\nHost: {board.host}\r\nConnection: close\r\n"
    long = raw(board, f"{head}X: {'x' * 40_000}\r\n\r\n".encode())
    assert long.startswith(b"HTTP/1.1 431 ")
    assert PROBLEM.encode() in long
    assert raw(board, b"\x16\x03\x01\x00\xff\x00\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    two = raw(board, f"{head}Host: evil.example\r\nAuthorization: Bearer {board.token}\r\n\r\n".encode())
    assert two.startswith(b"HTTP/1.1 400 ")
    old = raw(board, f"GET /api/services HTTP/1.0\r\nAuthorization: Bearer {board.token}\r\n\r\n".encode())
    assert old.startswith(b"HTTP/1.1 403 ")
    away = raw(
        board, f"GET http://evil.example/api/services HTTP/1.0\r\nHost: {board.host}\r\n\r\n".encode() * 1 + b""
    )
    assert b" 401 " in away or b" 404 " in away


def test_the_document_describes_every_route(board: Board):
    document = board.get("/api/openapi.json")
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in routes.ROUTES}
    assert document == json.loads(json.dumps(openapi.document(board.origin)))


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.soak)])
def test_nothing_that_fits_the_document_or_not_fails(board: Board, rounds: int):
    """schemathesis: no 5xx, and every answer is as described. Actions meet a service that is made for that."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import checks
    from schemathesis.specs.openapi import checks as described

    holds = [
        checks.not_a_server_error,
        described.response_schema_conformance,
        described.status_code_conformance,
        described.content_type_conformance,
    ]
    schema = schemathesis.openapi.from_dict(board.get("/api/openapi.json"))
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == "/api/events":  # its answer has no end
            continue

        @settings(
            max_examples=rounds,
            database=None,
            deadline=None,
            derandomize=rounds < 100,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def call(case: object) -> None:
            nonlocal tried
            tried += 1
            if tried % 2 and "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = "idle"
            case.call_and_validate(
                base_url=board.origin, headers=board.bearer, checks=holds, timeout=30, excluded_checks=[]
            )

        call()
    assert tried >= 14 * min(rounds, 3)
    assert board.row("web")["state"] == "running"
    board.post("/api/services/idle/force-clean")


# --- acting ----------------------------------------------------------------------------------------------


def test_start_stop_restart_and_kill_answer_with_the_report(shop: Scratch):
    board = detached(shop)
    started = board.post("/api/services/web/start").json()
    assert (started["ok"], started["services"][0]["outcome"]) == (True, "started")
    first = shop.stage.one("web")
    assert board.row("web")["pid"] == first.pid == started["services"][0]["pid"]
    assert board.post("/api/services/web/start").json()["services"][0]["outcome"] == "already-running"
    plan = board.post("/api/services/web/stop", dry_run=True).json()
    assert (plan["dry_run"], plan["services"][0]["stopped"]) == (True, [first.pid])
    assert plan["services"][0]["processes"][0]["pid"] == first.pid
    assert first.alive
    again = board.post("/api/services/web/restart", timeout=5).json()
    assert (again["ok"], again["stop"]["services"][0]["stopped"]) == (True, [first.pid])
    second = shop.stage.one("web")
    port = board.row("web")["ports"][0]
    freed = board.post(f"/api/ports/{port}/kill").json()
    expect_gone([first, second])
    assert (freed["ok"], freed["services"][0]["stopped"]) == (True, [second.pid])
    stops = [one for one in board.get("/api/history")["events"] if one["kind"] == "stop"]
    assert "by the dashboard" in stops[-1]["detail"]
    assert board.post("/api/services/web/force-clean").json()["ok"]
    assert not shop.pid_file().exists()
    shop.run("stop")
    expect_gone(shop.stage.announced("web"))
    assert not answers(board.port), "stop of everything ends the dashboard, too"


def test_a_stranger_is_refused_in_the_command_lines_words(shop: Scratch, tmp_path: Path):
    board = detached(shop)
    port = board.row("web")["ports"][0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("main.py", "stage.py"):
        shutil.copy(shop.root / name, elsewhere)
    stranger = shop.stage.detached(
        "stranger", ["python", "main.py", "--name", "x", "--port", str(port)], elsewhere
    )
    eventually(lambda: answers(port), "the stranger listens")
    assert eventually(lambda: board.row("web")["state"] == "foreign", "it is noticed")
    answer = board.post(f"/api/ports/{port}/kill")
    said = shop.run("free-port", "--port", str(port), expect=3)["error"]
    assert (answer.status, answer.problem, answer.json()["exit_code"]) == (409, "refused", 3)
    same = [re.sub(r"started [0-9.]+ s ago", "", text) for text in (answer.json()["detail"], said["message"])]
    assert same[0] == same[1]
    assert board.post("/api/services/web/start").json()["services"][0]["outcome"] == "refused"
    assert stranger.alive
    shop.run("stop")


def test_one_action_a_service_at_a_time(scratch: Scratch):
    gate = scratch.root / "gate"
    scratch.declare({"web": scratch.server("--name", "web", "--after", str(gate))})
    board = detached(scratch)
    with board.stream("?kinds=action,services") as events:
        answers = []
        slow = threading.Thread(target=lambda: answers.append(board.post("/api/services/web/start")))
        slow.start()
        events.until("action", lambda data: data["phase"] == "begun")
        eventually(lambda: board.row("web")["action"] == "start", "the row says what is under way")
        for action in ("start", "stop", "force-clean"):
            answer = board.post(f"/api/services/web/{action}")
            assert (answer.status, answer.problem) == (409, "busy")
        waiting = scratch.stage.wait_for("web-waiting")[0]
        assert board.post("/api/services/web/stop", dry_run=True).json()["services"][0]["stopped"] == [waiting.pid]
        assert waiting.alive
        gate.touch()
        slow.join(30)
        assert events.until("action", lambda data: data["phase"] == "done")["ok"] is True
    assert answers[0].json()["ok"]
    assert board.row("web")["action"] is None
    scratch.run("stop")


# --- the stream ------------------------------------------------------------------------------------------


def test_a_death_a_start_log_lines_and_history_reach_the_stream(scratch: Scratch):
    scratch.declare(
        {"web": scratch.server("--name", "web", "--say", "hello there"), "db": {"command": "sleep 600"}}
    )
    board = detached(scratch)

    def state(data: Mapping[str, object]) -> str:
        return next(row["state"] for row in data["services"] if row["name"] == "web")

    with board.stream() as events, board.stream("?logs=db&kinds=log,services") as other:
        assert events.next()[0] == "hello"
        assert state(events.next()[1]) == "stopped"
        scratch.start("web")
        assert events.until("log")["lines"] == [{"service": "web", "line": "hello there"}]
        events.until("services", lambda data: state(data) == "running")
        assert {"cpu_percent", "rss_bytes"} <= events.until("resources")["services"][0].keys()
        web = scratch.stage.one("web")
        web.kill()
        events.until("services", lambda data: state(data) == "stale")
        events.until("history", lambda _data: "exit" in events.happened())
        assert events.happened()[:2] == ["start", "ready"]
        board.post("/api/services/web/stop")
        scratch.run("dashboard", "--stop")
        assert events.until("bye") == {"reason": "shutdown"}
        while (found := other.next())[0] != "bye":
            assert found[0] in ("hello", "services"), found
    assert not answers(board.port)


def test_at_most_eight_streams(board: Board):
    with closing(half_sent(board.port)):
        streams = [board.stream("?kinds=ports") for _ in range(8)]
        opened = [stream.__enter__() for stream in streams]
        try:
            assert [one.next()[0] for one in opened] == ["hello"] * 8
            answer = board.ask("GET", "/api/events", board.bearer)
            assert (answer.status, answer.problem) == (503, "too-many")
            assert board.row("web")["state"] == "running"
        finally:
            for stream in streams:
                stream.__exit__(None, None, None)
    with board.stream() as stream:  # a place is free again
        assert eventually(lambda: stream.response.status, "") in (200, 503)


def test_what_others_wrote_is_text(scratch: Scratch):
    (scratch.root / "hostile.py").write_bytes(
        b"import sys, time\n"
        b"sys.stdout.buffer.write(b'<script>\\x1b[2J\\xff\\n' + b'x' * 1_000_000 + b'\\ndone\\n')\n"
        b"sys.stdout.flush()\ntime.sleep(600)\n"
    )
    scratch.declare({"web": {"command": ["python", "hostile.py", "<script>", "\x1b[31m", "--password=hunter2"]}})
    scratch.start("web")
    board = detached(scratch)
    eventually(lambda: (scratch.state / "web.log").read_bytes().endswith(b"done\n"), "it has written")
    answer = board.ask("GET", "/api/services/web/logs", board.bearer)
    assert answer.body.isascii()
    lines = [row["line"] for row in answer.json()["lines"]]
    assert lines[0] == "<script>\\x1b[2J\ufffd"
    assert len(lines[1]) < 5000
    assert lines[1].endswith("…")
    assert lines[2] == "done"
    command = board.get("/api/services/web/processes")["services"][0]["processes"][0]["command"]
    assert "<script> \\x1b[31m --password=***" in command
    assert "hunter2" not in json.dumps(board.post("/api/services/web/stop", dry_run=True).json())
    scratch.run("stop")


# --- many and slow connections ---------------------------------------------------------------------------


def test_300_half_sent_requests_at_256_descriptors_do_not_stop_it(shop: Scratch):
    board = foreground(shop, descriptors=256)
    assert "256" in Path(f"/proc/{board.child.pid}/limits").read_text().partition("Max open files")[2][:40]
    attackers = [half_sent(board.port) for _ in range(300)]
    try:
        for _ in range(5):
            assert board.row("web")["state"] == "stopped"
        assert board.ask("GET", "/").status == 200
        with board.stream("?kinds=ports") as events:
            assert events.next()[0] == "hello"
            more = [half_sent(board.port) for _ in range(CONNECTIONS + 10)]
            attackers += more
            assert board.row("web")["state"] == "stopped"
            open_now = len(list(Path(f"/proc/{board.child.pid}/fd").iterdir()))
            assert open_now < 150, open_now
            eventually(lambda: all(closed(one) for one in attackers), "the slow are cut off")
            board.post("/api/services/web/start")
            events.until("ports")  # the stream was none of them
    finally:
        for one in attackers:
            one.close()
    board.post("/api/services/web/stop")
    assert board.end() == 130


# --- running it ------------------------------------------------------------------------------------------


def test_in_the_foreground_until_ctrl_c(shop: Scratch):
    board = foreground(shop)
    assert board.url is not None
    assert board.url.startswith(f"{board.origin}/#token=")
    token = shop.state / "dashboard.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    shop.start("web")
    second = shop.run("dashboard", "--port", str(free_port()))
    assert (second["already"], second["base"], second["pid"]) == (True, board.origin, board.child.pid)
    assert second["url"] != board.url
    assert shop.run("dashboard", "--detach")["already"]
    assert "in a terminal" in shop.raw("dashboard", "--stop").stderr
    for url in (board.url, second["url"]):
        body = json.dumps({"token": url.partition("#token=")[2]})
        assert board.ask("POST", "/api/session", board.change, body).status == 200
    session = board.signed_in()
    assert board.end() == 130
    assert shop.stage.one("web").alive, "ending the dashboard ends nothing else"
    assert board.child.stderr.read() == ""
    after = foreground(shop)
    cookie = {"Cookie": session["Cookie"].replace(f"_{board.port}=", f"_{after.port}=")}
    assert after.ask("GET", "/api/services", cookie).status == 200, "a session outlives a restart"
    used = json.dumps({"token": second["url"].partition("#token=")[2]})
    assert after.ask("POST", "/api/session", after.change, used).status == 401, "a used token does not"
    after.child.send_signal(signal.SIGTERM)
    assert after.child.wait(20) == 143
    shop.run("stop")


def test_in_the_background_it_is_a_service(shop: Scratch):
    board = detached(shop)
    pid = int((shop.state / "dashboard.pid").read_text())
    board.post("/api/services/web/start")
    web = shop.stage.one("web")
    rows = {row["name"]: row for row in shop.run("status")["services"]}
    assert (rows["dashboard"]["state"], rows["dashboard"]["pid"]) == ("running", pid)
    assert {"dashboard", "web"} == {row["service"] for row in shop.run("clean")["running"]}
    assert board.token not in (shop.state / "dashboard.log").read_text()
    assert "#token" not in (shop.state / "dashboard.log").read_text()
    plan = shop.run("dashboard", "--stop", "--dry-run")
    assert plan["services"][0]["stopped"] == [pid]
    assert shop.run("dashboard", "--stop")["services"][0]["stopped"] == [pid]
    assert web.alive, "what was started from it stays"
    rows = {row["name"]: row["state"] for row in shop.run("status")["services"]}
    assert rows == {"web": "running"}
    again = detached(shop)
    assert again.row("web")["pid"] == web.pid
    being(int((shop.state / "dashboard.pid").read_text())).kill()
    assert shop.run("dashboard", "--stop")["ok"]
    third = detached(shop)
    assert third.row("web")["pid"] == web.pid, "killed, its successor finds the way clear"
    shop.run("force-clean")
    expect_gone([web])
    assert not answers(third.port)


def test_addresses_that_are_refused(shop: Scratch, tmp_path: Path):
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        port = str(taken.getsockname()[1])
        for words, code, said in (
            (("--host", "0.0.0.0"), 2, "other machines could read the token"),
            (("--host", "192.0.2.1"), 2, "--insecure"),
            (("--port", port), 1, f"port {port} is in use"),
            (("--detach", "--port", port), 1, f"port {port}"),
            (("--uds", str(tmp_path / "s"), "--port", "1"), 2, "--uds excludes"),
            (("--stop", "--detach"), 2, "exclude each other"),
            (("--uds", str(shop.root / "devtasks.toml")), 1, "is there already"),
            (("--keyfile", "x"), 2, "--certfile"),
            (("--certfile", "/nowhere.pem"), 2, "No such file"),
            (("--port", "abc"), 2, "is not a port"),
        ):
            done = shop.raw("dashboard", *words)
            assert (done.returncode, said in done.stderr) == (code, True), (words, done)
            assert "Traceback" not in done.stderr


def test_served_to_others_it_warns(shop: Scratch):
    board = foreground(shop, "--host", "0.0.0.0", "--insecure")
    assert "WITHOUT ENCRYPTION" in board.child.stderr.readline()
    assert board.row("web")["state"] == "stopped"
    assert (
        board.ask("GET", "/api/services", board.bearer, host=f"{socket.gethostname()}:{board.port}").status == 200
    )
    assert board.ask("GET", "/api/services", board.bearer, host=f"0.0.0.0:{board.port}").status == 403
    board.end()


def test_with_a_certificate(shop: Scratch):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"]
    subprocess.run(["openssl", "req", *made, *names], cwd=shop.root, check=True, capture_output=True)
    board = foreground(shop, "--certfile", "cert.pem", "--keyfile", "key.pem")
    assert board.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(shop.root / "cert.pem"))
    with closing(http.client.HTTPSConnection("localhost", board.port, context=context, timeout=20)) as connection:
        connection.request("GET", "/api/services", headers=board.bearer)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
        told = shop.run("dashboard")
        body = json.dumps({"token": told["url"].partition("#token=")[2]})
        connection.request("POST", "/api/session", body, board.change)
        assert "Secure" in connection.getresponse().headers["set-cookie"]
    board.end()


def test_on_a_unix_socket(shop: Scratch):
    path = shop.root / "board.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    told = shop.run("dashboard", "--detach", "--uds", "board.sock")
    assert told["uds"] == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = (shop.state / "dashboard.token").read_text().strip()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        head = f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        client.sendall(f"GET /api/services HTTP/1.1\r\nHost: localhost\r\n{head}".encode())
        answer = b""
        while chunk := client.recv(65_536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert shop.run("dashboard", "--stop")["ok"]
    assert not path.exists()


def test_without_its_packages_it_says_what_to_install(shop: Scratch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "_NEEDS", ("uvicorn_is_missing", "starlette"))
    said = inprocess.said(shop, "dashboard")
    assert said.code == 2
    assert said.stderr.strip() == "error: dashboard needs uvicorn_is_missing: pip install 'devtasks[dashboard]'"
    assert inprocess.run(shop, "dashboard", stop=True)["ok"], "what is not needed is not asked for"
