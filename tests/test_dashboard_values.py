"""What the dashboard decides from values alone: addresses, tokens, heads, streams."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from devtasks.command.options import LONGEST_SECONDS
from devtasks.config import loading
from devtasks.dashboard import address, credentials, metrics, presence, process, requests, routes
from devtasks.dashboard.address import Address, Settings
from devtasks.dashboard.credentials import ONE_TIME_SECONDS, SESSION_SECONDS, Credentials, one_time
from devtasks.dashboard.guard import Guard, Head, head_of
from devtasks.dashboard.problems import Problem
from devtasks.dashboard.streams import QUEUE_BYTES, STREAMS, Hub, Stream
from devtasks.errors import UsageError
from devtasks.model import Project

TOKEN = "t" * 43
NOW = 1.7e9
HERE = Address(scheme="http", host="127.0.0.1", port=7788)


# --- addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "hosts"),
    [
        (HERE, {"127.0.0.1:7788", "localhost:7788"}),
        (Address(scheme="http", host="::1", port=7788), {"[::1]:7788", "localhost:7788"}),
        (Address(scheme="https", host="Board.example", port=443), {
            "board.example:443", "board.example", "localhost:443", "localhost",
        }),
        (Address(scheme="https", host="0.0.0.0", port=1, names=("box", "10.0.0.7")), {
            "127.0.0.1:1", "localhost:1", "box:1", "10.0.0.7:1",
        }),
        (Address(scheme="http", host="::", port=1, names=("fe80::1",)), {"[::1]:1", "localhost:1", "[fe80::1]:1"}),
        (Address(scheme="http", host="127.0.0.1", port=0, uds=Path("/run/x")), {"localhost"}),
    ],
)  # fmt: skip
def test_the_names_by_which_it_may_be_called(where: Address, hosts: set[str]):
    assert where.hosts == hosts
    assert where.base.partition("://")[2].lower() in hosts


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_certificate(host: str, tmp_path: Path):
    settings = Settings(root=tmp_path, host=host)
    address.check(settings)
    assert address.warning(settings) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box", "localhost.example", "128.0.0.1", "::2"])
def test_any_other_address_needs_one_or_a_warning(host: str, tmp_path: Path):
    with pytest.raises(UsageError, match="--host"):
        address.check(Settings(root=tmp_path, host=host))
    address.check(Settings(root=tmp_path, host=host, certfile=tmp_path / "x"))
    open_to_all = Settings(root=tmp_path, host=host, insecure=True)
    address.check(open_to_all)
    assert "WITHOUT ENCRYPTION" in (address.warning(open_to_all) or "")


def test_settings_that_exclude_each_other(tmp_path: Path):
    for wrong in ({"uds": tmp_path, "port": 1}, {"uds": tmp_path, "host": "::1"}, {"keyfile": tmp_path}):
        with pytest.raises(UsageError):
            address.check(Settings(root=tmp_path, **wrong))


def test_settings_survive_the_command_line(tmp_path: Path):
    for given in (
        Settings(root=tmp_path),
        Settings(root=tmp_path, host="::1", port=1, certfile=tmp_path / "a b=c", insecure=True, json=True),
        Settings(root=tmp_path, uds=tmp_path / "s", managed=True, open_browser=True),
    ):
        words = process.command(given)
        assert process.settings_of(words[words.index("devtasks.dashboard") + 1 :]) == given
    with pytest.raises(UsageError):
        process.settings_of([])
    with pytest.raises(UsageError):
        process.settings_of(["/", "prot=1"])


# --- tokens ----------------------------------------------------------------------------------------------


def test_a_one_time_token_holds_once_and_for_five_minutes():
    judge = Credentials(TOKEN, since=NOW - 1000)
    fresh, old = one_time(TOKEN, NOW), one_time(TOKEN, NOW - ONE_TIME_SECONDS - 1)
    assert judge.redeem(fresh, NOW)
    assert not judge.redeem(fresh, NOW), "used"
    assert not judge.redeem(old, NOW), "too old"
    assert judge.redeem(one_time(TOKEN, NOW), NOW), "another one"
    for since in (0.01, 60):
        assert not Credentials(TOKEN, since=NOW + since).redeem(one_time(TOKEN, NOW), NOW + 61), (
            "from before the start"
        )
    assert Credentials(TOKEN, since=NOW).redeem(one_time(TOKEN, NOW), NOW), "from the very start"
    assert not judge.redeem(one_time(TOKEN, NOW + 60), NOW), "from the future"


def test_what_was_changed_or_signed_for_something_else_does_not_hold():
    judge = Credentials(TOKEN, since=NOW)
    good = one_time(TOKEN, NOW)
    number, nonce, mac = good.split(".")
    session, expires_at = judge.session(NOW)
    for forged in (
        "", ".", "..", good + "=", good[:-1], f"{int(number) + 1}.{nonce}.{mac}", f"0{good}", f"+{good}",
        f"{number}.{mac}.{nonce}", one_time("u" * 43, NOW), session, TOKEN, f"\uff11{good[1:]}", "9" * 300,
    ):  # fmt: skip
        assert not judge.redeem(forged, NOW), forged
        assert forged == session or judge.session_until(forged, NOW) is None
    assert judge.session_until(good, NOW) is None
    assert judge.session_until(session, NOW) == expires_at == NOW + SESSION_SECONDS
    assert judge.session_until(session, expires_at) is None, "over"
    assert Credentials("u" * 43).session_until(session, NOW) is None
    assert judge.knows(TOKEN)
    for wrong in ("", TOKEN[:-1], TOKEN + "t", "\udcff", "ü"):
        assert not judge.knows(wrong)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    table = '[services.web]\ncommand = "x"\nport = 1\n[services.dashboard]\ncommand = "y"\n'
    (tmp_path / "devtasks.toml").write_text(table)
    return loading.load(tmp_path, {})


def test_the_token_is_private_and_stays(project: Project):
    assert credentials.read(project) is None
    token = credentials.ensure(project)
    path = credentials.path(project)
    assert len(token) * 6 >= 128
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert credentials.ensure(project) == credentials.read(project) == token


def test_a_token_that_others_could_read_or_that_is_none_is_made_anew(project: Project, tmp_path: Path):
    token, path = credentials.ensure(project), credentials.path(project)
    path.chmod(0o640)
    assert credentials.read(project) is None
    second = credentials.ensure(project)
    assert second != token
    path.write_text("short")
    assert credentials.ensure(project) not in (token, second)
    elsewhere = tmp_path / "other"
    elsewhere.write_text(token)
    path.unlink()
    path.symlink_to(elsewhere)
    assert credentials.read(project) is None
    third = credentials.ensure(project)
    assert not path.is_symlink()
    assert (third != token, elsewhere.read_text()) == (True, token)


def test_one_dashboard_at_a_time_says_where_it_is(project: Project):
    assert presence.name(project) == "devtasks-dashboard", "the project has a service called dashboard"
    assert presence.served(project) is None
    with presence.claimed(project):
        assert presence.served(project) is None, "not yet"
        presence.tell(project, HERE)
        assert presence.served(project) == presence.Served(pid=os.getpid(), base=HERE.base, uds=None)
        (project.state_dir / "dashboard.json").write_text('{"pid": "x"}')
        assert presence.served(project) is None
    assert presence.served(project) is None


# --- heads -----------------------------------------------------------------------------------------------

JUDGE = Credentials(TOKEN, since=NOW)
SESSION = JUDGE.session(NOW)[0]
GUARD = Guard(HERE, JUDGE, routes.methods, now=lambda: NOW)
HOST = {"host": ("127.0.0.1:7788",)}
BEARER = {"authorization": (f"Bearer {TOKEN}",)}
COOKIE = {"cookie": (f"other=1; devtasks_7788={SESSION}",)}
ORIGIN = {"origin": ("http://127.0.0.1:7788",)}
CHANGE = {"content-type": ("application/json; charset=utf-8",), "x-devtasks": ("1",)}
GET, POST = ("GET", "/api/services"), ("POST", "/api/services/web/stop")


@pytest.mark.parametrize(
    ("route", "headers"),
    [
        (GET, HOST | BEARER),
        (GET, HOST | COOKIE),
        (GET, {"host": ("LOCALHOST:7788",)} | COOKIE),
        (GET, HOST | COOKIE | {"sec-fetch-site": ("same-origin",)}),
        (POST, HOST | BEARER | CHANGE),
        (POST, HOST | BEARER | CHANGE | ORIGIN),
        (POST, HOST | COOKIE | CHANGE | ORIGIN),
        (POST, {"host": ("localhost:7788",)} | COOKIE | CHANGE | {"origin": ("http://localhost:7788",)}),
        (("GET", "/"), HOST),
        (("GET", "/"), HOST | {"sec-fetch-site": ("cross-site",)}),
        (("HEAD", "/static/app.js"), HOST),
        (("POST", "/api/session"), HOST | CHANGE),
    ],
)
def test_what_passes(route: tuple[str, str], headers: dict[str, tuple[str, ...]]):
    GUARD.judge(Head(method=route[0], path=route[1], headers=headers))


@pytest.mark.parametrize(
    ("route", "headers", "kind"),
    [
        (GET, HOST, "unauthorized"),
        (GET, BEARER, "host"),
        (GET, {"host": ("127.0.0.1:7788", "127.0.0.1:7788")} | BEARER, "host"),
        (GET, {"host": ("[::1]:7788",)} | BEARER, "host"),
        (GET, {"host": ("127.0.0.1",)} | BEARER, "host"),
        (GET, {"host": ("127.0.0.1:7788.",)} | BEARER, "host"),
        (("GET", "/"), {"host": ("evil.example",)}, "host"),
        (("POST", "/api/session"), {"host": ("evil.example",)} | CHANGE, "host"),
        (GET, HOST | {"authorization": (f"Bearer {TOKEN}x",)}, "unauthorized"),
        (GET, HOST | {"authorization": (f"Basic {TOKEN}",)}, "unauthorized"),
        (GET, HOST | {"authorization": ("Bearer " + TOKEN,) * 2}, "unauthorized"),
        (GET, HOST | COOKIE | {"authorization": ("Bearer wrong",)}, "unauthorized"),
        (GET, HOST | {"cookie": (f"devtasks_7789={SESSION}",)}, "unauthorized"),
        (GET, HOST | {"cookie": (f"devtasks_7788={TOKEN}",)}, "unauthorized"),
        (GET, HOST | COOKIE | {"origin": ("null",)}, "origin"),
        (GET, HOST | COOKIE | {"origin": ("https://127.0.0.1:7788",)}, "origin"),
        (GET, HOST | COOKIE | {"sec-fetch-site": ("same-site",)}, "origin"),
        (POST, HOST | COOKIE | CHANGE, "origin"),
        (POST, HOST | COOKIE | CHANGE | {"origin": ("http://localhost:7788",)}, "origin"),
        (POST, HOST | COOKIE | CHANGE | {"origin": ("null",)}, "origin"),
        (POST, HOST | BEARER | CHANGE | {"origin": ("http://127.0.0.1:7789",)}, "origin"),
        (POST, HOST | BEARER | {"x-devtasks": ("1",)}, "media-type"),
        (POST, HOST | BEARER | CHANGE | {"content-type": ("text/plain",)}, "media-type"),
        (POST, HOST | BEARER | CHANGE | {"content-type": ("application/jsonx",)}, "media-type"),
        (POST, HOST | BEARER | {"content-type": ("application/json",)}, "header"),
        (POST, HOST | BEARER | CHANGE | {"content-length": ("16385",)}, "too-large"),
        (POST, HOST | BEARER | CHANGE | {"content-length": ("9" * 400,)}, "too-large"),
        (GET, HOST | BEARER | {"content-length": ("2",)}, "malformed"),
        (GET, HOST | BEARER | {"transfer-encoding": ("chunked",)}, "malformed"),
        (("GET", POST[1]), HOST | BEARER, "method"),
        (("POST", GET[1]), HOST | BEARER | CHANGE, "method"),
        (("OPTIONS", GET[1]), HOST | BEARER, "method"),
        (("HEAD", GET[1]), HOST | BEARER, "method"),
        (("POST", "/"), HOST | CHANGE, "method"),
        (("GET", "/api/session"), HOST, "method"),
        (("GET", "/api/services/"), HOST | BEARER, "unknown"),
        (("GET", "/api/services/a/b/logs"), HOST | BEARER, "unknown"),
        (("GET", "/API/services"), HOST | BEARER, "unknown"),
        (("GET", "//api/services"), HOST | BEARER, "unknown"),
    ],
)
def test_what_does_not_pass(route: tuple[str, str], headers: dict[str, tuple[str, ...]], kind: str):
    with pytest.raises(Problem) as caught:
        GUARD.judge(Head(method=route[0], path=route[1], headers=headers))
    assert caught.value.kind == kind


def test_header_names_are_compared_in_lower_case_and_doubles_are_kept():
    head = head_of("GET", "/", [(b"HoSt", b" a "), (b"host", b"b")])
    assert head.headers == {"host": ("a", "b")}
    assert head.one("host") is None


# --- bodies ----------------------------------------------------------------------------------------------


def test_what_counts_as_seconds():
    assert requests.LONGEST_SECONDS == LONGEST_SECONDS
    for good in (None, 0, 0.5, 86_400):
        assert requests.seconds(good)
    for bad in (True, -1, 86_401, float("nan"), float("inf"), "5", [], {}):
        assert not requests.seconds(bad)


# --- streams ---------------------------------------------------------------------------------------------


def test_a_reader_that_does_not_keep_up_is_told_and_cut_off():
    async def run() -> None:
        stream = Stream(frozenset({"log"}), None, None)
        chunk = b"x" * 65_536
        for _ in range(QUEUE_BYTES // len(chunk)):
            stream.put(chunk)
        assert not stream.ended
        stream.put(chunk)
        assert stream.ended
        stream.put(chunk)
        assert b'"slow"' in await stream.take()
        assert await stream.take() == b""

    asyncio.run(run())


def test_a_stream_gets_what_it_asked_for_and_there_are_eight_at_most():
    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        assert not hub.watched()
        web = Stream(frozenset({"log"}), frozenset({"web"}), None)
        quiet = Stream(frozenset({"services"}), None, None)
        for stream in (web, quiet):
            hub.open(stream)
        assert hub.watched()
        assert (hub.wants_log("web"), hub.wants_log("db"), hub.wants("history")) == (True, False, False)
        lines = [{"service": name, "line": name} for name in ("web", "db")]
        hub.publish("log", {"lines": lines, "dropped": 0})
        hub.publish("services", {"x": 1})
        await asyncio.sleep(0)
        taken = await web.take()
        assert b'"web"' in taken
        assert b'"db"' not in taken
        assert await quiet.take() == b'event: services\ndata: {"x":1}\n\n'
        for _ in range(STREAMS - 2):
            hub.open(Stream(frozenset(), None, None))
        with pytest.raises(Problem) as caught:
            hub.open(Stream(frozenset(), None, None))
        assert caught.value.status == 503
        hub.end("shutdown")
        assert b"shutdown" in await web.take()
        assert await web.take() == b""

    asyncio.run(run())


def test_metrics_escape_what_stands_in_labels():
    row = {"name": 'a"b\\c\nd', "state": "running", "restarts": 0, "rss_bytes": None, "processes": 1}
    told = {"project": "shop", "services": [{**row, "uptime_seconds": 1.5}]}
    beats = {"monitor": {"state": "absent"}, "services": []}
    text = metrics.render(told, {}, beats)
    assert 'devtasks_service_up{project="shop",service="a\\"b\\\\c\\nd"} 1\n' in text
    assert "devtasks_service_memory_bytes" not in text, "what is not known is left out"
    assert all(line.startswith("#") or line.count("\n") == 0 for line in text.splitlines())
