"""What --hosts decides before and after anybody is called: whom, with what words, and what came back. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shlex
from pathlib import Path

import pytest
from filetools import project_at
from hypothesis import given
from hypothesis import strategies as st

from devtasks.command.positions import fronted
from devtasks.config import parsing
from devtasks.errors import ConfigError, UsageError
from devtasks.model import HostGroup
from devtasks.outcomes import FleetReport, HostAnswer
from devtasks.remote import answers, commandline, targets
from devtasks.remote.known import entries, keys_of
from devtasks.remote.targets import Target
from devtasks.report import shapes, text
from devtasks.report.look import Look
from devtasks.values import replace

GROUPS = (
    HostGroup(name="web", hosts=("web1", "deploy@web2:2222")),
    HostGroup(name="db", hosts=("db1",), path="/srv/db", command=("/opt/devtasks",)),
)
TARGET = Target(name="web1", host="web1", group="web", path="shop", command=("devtasks",))


def shop(tmp_path: Path):
    return replace(project_at(tmp_path), hosts=GROUPS)


# --- whom ------------------------------------------------------------------------------------------------


def test_groups_and_hosts_are_named_together(tmp_path):
    found = targets.chosen("db, web1,web,, other", shop(tmp_path), home=Path("/home/me"))
    assert [one.name for one in found] == ["db1", "web1", "deploy@web2:2222", "other"]
    assert found[0].command == ("/opt/devtasks",)
    assert found[0].path == "/srv/db"
    assert [one.group for one in found] == ["db", "web", "web", None]


def test_a_path_below_home_is_counted_from_there(tmp_path):
    here = shop(tmp_path)
    assert targets.chosen("web1", here, home=Path("/home/me"))[0].path == str(here.root)
    assert targets.chosen("web1", here, home=here.root.parent)[0].path == here.root.name
    assert targets.chosen("web1", here, home=here.root)[0].path == str(here.root)


def test_a_host_with_the_project_twice_is_told_apart(tmp_path):
    both = (HostGroup(name="blue", hosts=("a",), path="/b"), HostGroup(name="green", hosts=("a",), path="/g"))
    found = targets.chosen("blue,green", replace(project_at(tmp_path), hosts=both), home=Path("/"))
    assert [one.name for one in found] == ["a (blue)", "a (green)"]


@pytest.mark.parametrize(
    "spec", ["", " , ", "-oProxyCommand=x", "a b", "a;b", "web1:0", "web1:65536", "x@", "$(id)"]
)
def test_what_is_no_host_is_refused(tmp_path, spec):
    with pytest.raises(UsageError, match="--hosts"):
        targets.chosen(spec, shop(tmp_path), home=Path("/"))


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "hosts: names no host"),
        ({"web": []}, "hosts.web: must not be empty"),
        ({"web": {"path": "/x"}}, "hosts.web.hosts: is missing"),
        ({"web": ["a", "a"]}, "hosts.web[1]: the string"),
        ({"Web": ["a"]}, "hosts.Web: must be the name of a group"),
        ({"web": ["-x"]}, "hosts.web[0]: must be a host"),
        ({"web": {"hosts": ["a"], "pth": "/x"}}, "hosts.web.pth: unknown key"),
    ],
)
def test_mistakes_in_the_table(tmp_path, table, problem):
    with pytest.raises(ConfigError) as caught:
        parsing.parse({"hosts": table}, root=tmp_path, source="x", project_name=None, environ={})
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems


# --- with what words -------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
def test_every_word_reaches_the_host_as_it_is(word):
    target = replace(TARGET, path=word, command=(word, "x"))
    line = commandline.line(
        target, "logs", (), {"lines": "5", "grep": word, "json": True}, dry_run=False, sudo=True
    )
    expected = ["sudo", "-n", "--", word, "x", "--root", word, "--tethered", "logs", "--lines=5", f"--grep={word}"]
    assert shlex.split(line) == [*expected, "--json"]


def test_flags_and_names_are_handed_on():
    line = commandline.line(TARGET, "stop", ("a", "b"), {"why": True, "timeout": None}, dry_run=True, sudo=False)
    assert line == "devtasks --root shop --tethered stop --why --only a --only b --dry-run --json"


def test_the_flags_may_stand_anywhere():
    words = ["status", "--sudo", "--hosts", "a,b", "web", "--parallel=3"]
    assert fronted(words, ("hosts", "sudo", "parallel")) == [
        "--sudo",
        "--hosts",
        "a,b",
        "--parallel=3",
        "status",
        "web",
    ]
    with pytest.raises(UsageError, match="--hosts needs a value"):
        fronted(["status", "--hosts"], ("hosts",))


# --- what came back --------------------------------------------------------------------------------------

STATUS = {
    "version": 1,
    "services": [
        {
            "name": "web",
            "state": "running",
            "health": None,
            "pid": 5,
            "ports": [8000],
            "uptime_seconds": 3.5,
            "restarts": 0,
            "cpu_percent": None,
            "rss_bytes": 4096,
            "processes": 1,
            "detail": None,
        }
    ],
}


def judged(stdout: object, code: int = 0, stderr: str = "", verb: str = "status") -> answers.Verdict:
    return answers.judge(verb, code, stdout if isinstance(stdout, str) else json.dumps(stdout), stderr)


def test_an_answer_is_the_last_line():
    assert judged("motd\n\n" + json.dumps(STATUS) + "\n\n").outcome == "answered"


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_its_exit_code_counts(code):
    assert judged(STATUS, code).exit_code == code
    assert judged(STATUS, 77).exit_code == 1


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{",
        "[]",
        "1",
        '{"version": 1}',
        '{"version": 1, "services": {}}',
        '{"version": 1, "services": [{}]}',
        '{"version": 1, "services": [1]}',
        json.dumps(STATUS).replace('"pid": 5', '"pid": "5"'),
        json.dumps(STATUS).replace('"pid": 5', '"pid": true'),
        json.dumps(STATUS).replace("3.5", "NaN"),
        json.dumps(STATUS).replace("3.5", "1e999"),
        json.dumps(STATUS).replace("4096", "9" * 30),
        json.dumps(STATUS).replace("4096", "9" * 5000),
        '{"version": 1, "services": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"version": 1, "services": [], "x": ' + "[" * 20 + "]" * 20 + "}",
    ],
)
def test_what_is_no_answer_is_garbled(said):
    assert judged(said).outcome == "garbled"


def test_text_is_escaped_and_bounded():
    loud = json.loads(json.dumps(STATUS))
    loud["services"][0]["name"] = "web\x1b[2J" + "x" * 50_000
    loud["\x1bkey"] = "\u202e"
    report = judged(loud).report
    assert report is not None
    assert report["services"][0]["name"].startswith("web\\x1b[2J")
    assert len(report["services"][0]["name"]) < 11_000
    assert report["\\x1bkey"] == "\\u202e"


def test_other_versions_and_no_devtasks():
    assert judged({**STATUS, "version": 2}).outcome == "other-version"
    assert judged({"version": {}}).outcome == "other-version"
    unknown = {
        "version": 1,
        "ok": False,
        "error": {"message": "devtasks has no flag --tethered", "hint": None, "exit_code": 2},
    }
    assert judged(unknown, 2).outcome == "other-version"
    assert judged("", 127, "bash: devtasks: command not found").outcome == "no-devtasks"
    assert judged("", 1, "python3: No module named devtasks").outcome == "no-devtasks"
    failed = judged({"version": 1, "ok": False, "error": {"message": "no", "hint": "do", "exit_code": 2}}, 2)
    assert (failed.outcome, failed.exit_code, failed.detail, failed.hint) == ("failed", 2, "no", "do")


def test_a_sudo_that_asks():
    verdict = answers.judge("status", 1, "", "sudo: a password is required\n", sudo=True)
    assert verdict.outcome == "denied"


# --- the report ------------------------------------------------------------------------------------------


def answer(name: str, code: int, **fields: object) -> HostAnswer:
    return HostAnswer(
        **{"name": name, "group": None, "outcome": "answered", "exit_code": code, "seconds": 1.0, **fields}
    )


def fleet(*hosts: HostAnswer, checking: bool = False) -> FleetReport:
    return FleetReport(verb="status", dry_run=False, checking=checking, hosts=hosts)


def test_the_worst_exit_code_counts():
    assert fleet(answer("a", 0), answer("b", 1), answer("c", 3)).exit_code == 3
    assert fleet(answer("a", 4), answer("b", 1), answer("c", 3), checking=True).exit_code == 1
    assert fleet(answer("a", 0), answer("b", 0)).exit_code == 0


def test_the_report_for_people_and_for_programs():
    lost = answer("b", 1, outcome="unreachable", detail="no route \x1b[2J", hint="look")
    report = fleet(answer("a", 0, report=judged(STATUS).report), lost)
    lines = text.render(report, Look(width=100))
    assert lines[1].split() == ["a", "web", "running", "-", "5", "8000", "3s", "4", "KiB", "1"]
    assert lines[2:] == ["b: unreachable: no route \\x1b[2J", "  hint: look"]
    shape = json.loads(shapes.render(report))
    assert shape["ok"] is False
    assert [(row["host"], row["outcome"]) for row in shape["hosts"]] == [("a", "answered"), ("b", "unreachable")]
    assert shape["hosts"][0]["report"]["services"][0]["pid"] == 5


# --- known hosts -----------------------------------------------------------------------------------------

BLOB = base64.b64encode(b"key one").decode()
OTHER = base64.b64encode(b"key two").decode()


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.digest(salt, name.encode(), hashlib.sha1)
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("names", "host", "port", "known"),
    [
        ("web1", "web1", 22, True),
        ("web1", "WEB1", 22, True),
        ("web1", "web1", 2222, False),
        ("[web1]:2222", "web1", 2222, True),
        ("web1,web2", "web2", 22, True),
        ("*.example.com", "a.example.com", 22, True),
        ("*.example.com,!b.example.com", "b.example.com", 22, False),
        ("web?", "web1", 22, True),
        ("web.", "web1", 22, False),
        (hashed("web1"), "web1", 22, True),
        (hashed("web1"), "web2", 22, False),
        (hashed("[web1]:2222"), "web1", 2222, True),
        ("|1|bad|", "web1", 22, False),
    ],
)
def test_names_of_known_hosts(names, host, port, known):
    found = keys_of(host, port, entries(f"# a comment\n\nbroken\n{names} ssh-ed25519 {BLOB} me\n"))
    assert (found.trusted == {b"key one"}) is known


def test_markers():
    lines = f"a ssh-rsa {BLOB}\na ssh-rsa {OTHER}\n@revoked * ssh-rsa {OTHER}\n@cert-authority b ssh-rsa {BLOB}\n"
    found = keys_of("a", 22, entries(lines))
    assert found.revoked == {b"key two"}
    assert found.kinds == {"ssh-rsa"}
    assert not keys_of("b", 22, entries(lines)).trusted
