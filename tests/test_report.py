"""What is printed: text for people at 80 columns, JSON for programs, nothing that commands a terminal or leaks."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks import outcomes
from devtasks.errors import ConfigError, DevtasksError, UsageError
from devtasks.model import Evidence, LogLine, Rule
from devtasks.report import look, shapes, text, words
from devtasks.report.look import Look, columns, look_for
from devtasks.report.masking import masked
from devtasks.report.output import Output
from devtasks.store.events import Event
from devtasks.values import replace

PLAIN = Look()
LONG = "/srv/shop/.venv/bin/python /srv/shop/.venv/bin/uvicorn main:app --reload --host 127.0.0.1 --port 8000"
HOSTILE = "sh -c '\x1b[31mred\x1b]0;title\x07\n::error::x\u202e' postgres://u:hunter2@db/x"


def service(name: str = "backend", **changes: object) -> outcomes.ServiceStatus:
    row = outcomes.ServiceStatus(
        name=name,
        state="running",
        health=None,
        pid=4711,
        ports=(8000,),
        uptime_seconds=11_532.4,
        restarts=0,
        cpu_percent=0.44,
        rss_bytes=64_000_000,
        processes=3,
        holder=None,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def process(pid: int, ppid: int, command: str = "sleep 1", **changes: object) -> outcomes.ProcessRow:
    row = outcomes.ProcessRow(
        pid=pid,
        ppid=ppid,
        command=command,
        cwd="/srv/shop",
        started_at=1_700_000_000.123456,
        cpu_percent=None,
        rss_bytes=61 * 1024**2,
        ports=(),
        evidence=(Evidence("marker", "DEVTASKS_ID names this service"),),
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def rejected(number: int) -> tuple[outcomes.RejectedRow, ...]:
    return tuple(
        outcomes.RejectedRow(
            pid=900 + at,
            service="backend",
            command=f"vim {LONG}",
            reason="vim only mentions the service, as every editor does that has one of its files open",
            cwd="/srv/shop",
        )
        for at in range(number)
    )


STATUS = outcomes.Status(
    project="shop",
    environment="development",
    services=(
        service(),
        service(
            "frontend",
            state="foreign",
            pid=None,
            uptime_seconds=None,
            cpu_percent=None,
            rss_bytes=None,
            processes=0,
            holder=outcomes.Holder(pid=999, command=HOSTILE, cwd="/home/x/other"),
        ),
        service("worker", state="stale", pid=None, detail="worker.pid names 123, which is gone"),
    ),
)
PROCESSES = outcomes.Processes(
    project="shop",
    services=(
        outcomes.ProcessGroup(
            name="backend",
            guarantee="runner",
            processes=(
                process(4711, 1, LONG, evidence=(Evidence("pid-file", "backend.pid"), Evidence("marker", ""))),
                process(4712, 4711, HOSTILE, ports=(8000,)),
                process(4713, 4712, "sleep 2"),
                process(4714, 4711, "sleep 3"),
            ),
        ),
        outcomes.ProcessGroup(name="frontend", processes=()),
    ),
    rejected=rejected(7),
)
STARTED = outcomes.StartReport(
    ok=False,
    dry_run=False,
    services=(
        outcomes.Started(
            name="backend",
            outcome="started",
            pid=4711,
            seconds=0.6124,
            url="http://127.0.0.1:8000",
            log_file="/x/b.log",
        ),
        outcomes.Started(name="db", outcome="already-running", pid=12, seconds=0.0),
        outcomes.Started(
            name="frontend",
            outcome="exited",
            pid=None,
            seconds=0.3,
            detail="exit code 1 after 0.3 s",
            log_file="/srv/shop/frontend.log",
            hint="npm install",
            log_tail=("Error: no vite", "::error::obeyed ##[group]", "\x1b]0;title\x07"),
            exit_code=1,
        ),
        outcomes.Started(
            name="web", outcome="refused", pid=None, seconds=0, detail=f"port 80 is held by {LONG}", exit_code=3
        ),
    ),
)
STOPPED = outcomes.StopReport(
    ok=False,
    dry_run=False,
    seconds=0.2149,
    services=(
        outcomes.Stopped(
            name="backend",
            stopped=(4711, 4712),
            killed=(4713,),
            survivors=(
                outcomes.Survivor(pid=5000, reason="it runs as postgres, and only root may signal it " * 2),
            ),
            commands=((4711, LONG), (4712, HOSTILE), (4713, "sleep 1"), (5000, "postgres: checkpointer")),
            rejected=rejected(7),
            notes=("PID file backend.pid was stale",),
            removed=("/srv/shop/.devtasks/backend.pid",),
        ),
        outcomes.Stopped(name="frontend"),
    ),
)
CLEANED = outcomes.CleanReport(
    dry_run=False,
    removed=("/srv/shop/.devtasks/x.pid",),
    running=(outcomes.Running(service="backend", pid=7), outcomes.Running(service="worker.2", pid=8)),
    notes=("kept y.pid: it is not ours",),
)
EXPLAINED = outcomes.ExplainReport(
    explanations=(
        outcomes.Explanation(
            pid=5,
            command=HOSTILE,
            verdict="not ours: no evidence holds",
            rules=(
                Rule("never", False, ""),
                Rule("marker", None, "its environment cannot be read, which proves nothing in either direction"),
                Rule("pattern", True, "matches uvicorn main:"),
            ),
        ),
    )
)
LOGS = outcomes.LogLines(
    lines=(
        LogLine("backend", "started", 1_790_000_000.25),
        LogLine("frontend", HOSTILE),
        LogLine("frontend", ""),
    )
)
RESTARTED = outcomes.RestartReport(ok=False, stop=replace(STOPPED, ok=True), start=STARTED)
HAPPENED = outcomes.History(
    project="shop", events=(Event(service="backend", kind="kill", at=1.7e9, pid=4711, detail=HOSTILE),)
)
PROPOSED = outcomes.Proposal(
    content='# from Procfile\n[tool.devtasks.services.web]\ncommand = "x"\n', path="/x/p.toml"
)
CHECKED = outcomes.HealthReport(
    services=(
        outcomes.HealthRow(name="backend", health="healthy", probe="http", seconds=0.012, detail="answers 200"),
        outcomes.HealthRow(name="front", health="foreign", probe="http", seconds=2, detail=f"held by {HOSTILE}"),
    )
)
EXPORTED = outcomes.ExportReport(
    target="systemd",
    output="/srv/shop/deploy/systemd",
    written=True,
    check=False,
    files=(
        outcomes.ExportedFile(path="system/shop.target", state="new"),
        outcomes.ExportedFile(path="system/shop-old.service", state="stale"),
    ),
    services=(
        outcomes.ExportedService(
            name="backend",
            mapped=(outcomes.Exported("command", "ExecStart"),),
            unmapped=(outcomes.Exported("health", f"systemd asks nobody {HOSTILE}"),),
        ),
    ),
    remarks=(outcomes.Exported("stdin", "standard input is /dev/null"),),
    commands=("systemctl daemon-reload",),
)
EVERYTHING = {
    "export": EXPORTED,
    "status": STATUS,
    "health": CHECKED,
    "processes": PROCESSES,
    "start": STARTED,
    "stop": STOPPED,
    "restart": RESTARTED,
    "clean": CLEANED,
    "explain": EXPLAINED,
    "logs": LOGS,
    "history": HAPPENED,
    "init": PROPOSED,
}

# --- text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("unicode", [True, False])
def test_every_report_fits_in_80_columns_without_colour_and_commands(name: str, unicode: bool):
    lines = text.render(EVERYTHING[name], Look(unicode=unicode))
    for line in lines:
        assert columns(line) <= 80 or " " not in line.strip() or name == "logs", line
        assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char == "\u202e" for char in line), line
        assert "hunter2" not in line or name == "logs"
        assert unicode or line.isascii(), line


@pytest.mark.parametrize("name", EVERYTHING)
def test_colour_changes_nothing_but_the_colour(name: str):
    import re

    plain = text.render(EVERYTHING[name], PLAIN)
    colored = text.render(EVERYTHING[name], Look(color=True))
    assert [re.sub(r"\x1b\[[0-9]+m", "", line) for line in colored] == plain


def test_status_is_a_table_with_the_stranger_named_below():
    lines = text.render(STATUS, PLAIN)
    assert lines[0] == "shop (development)"
    assert lines[1].split() == ["SERVICE", "STATE", "PID", "PORTS", "UPTIME", "CPU", "MEMORY", "PROCS"]
    assert lines[2].split() == ["backend", "running", "4711", "8000", "3h", "12m", "0%", "61", "MiB", "3"]
    assert any("PID 999" in line and "frontend" in line for line in lines)
    assert any("worker.pid names 123" in line for line in lines)
    healthy = replace(STATUS, services=(service(health="healthy", restarts=2),))
    assert {"HEALTH", "RESTARTS"} <= set(text.render(healthy, PLAIN)[1].split())


def test_health_says_how_it_was_asked_and_what_came():
    lines = text.render(CHECKED, PLAIN)
    assert lines[0] == "backend  healthy  answers 200 (http, 0.01 s)"
    assert lines[1].startswith("front    foreign  held by ")
    assert not CHECKED.ok
    assert json.loads(shapes.render(CHECKED))["services"][0] == {
        "name": "backend", "health": "healthy", "probe": "http", "seconds": 0.012, "detail": "answers 200",
    }  # fmt: skip


def test_status_check_counts_health_too():
    def code(**fields: object) -> int:
        return replace(STATUS, services=(service(**fields),)).check

    assert [code(health=one) for one in (None, "healthy", "unhealthy", "foreign", "starting", "unknown")] == [
        *(0, 0, 1, 3, 4, 4)
    ]


def test_processes_stand_below_their_parents_with_their_evidence():
    lines = text.render(PROCESSES, PLAIN)
    assert lines[0] == "backend: 4 processes (held together by runner)"
    assert lines[1].startswith("  4711 ")
    assert lines[2] == "  │  pid-file: backend.pid"
    assert lines[4].startswith("  ├─ 4712 ")
    assert lines[6].startswith("  │  └─ 4713 ")
    assert lines[8].startswith("  └─ 4714 ")
    assert "frontend: no processes" in lines
    assert lines[-1] == "7 other processes were left alone; --why lists them"
    assert sum("only mentions" in line for line in text.render(PROCESSES, PLAIN, why=True)) == 7


def test_a_chain_of_a_thousand_processes_is_shown():
    chain = tuple(process(pid, pid - 1) for pid in range(2, 1002))
    group = outcomes.ProcessGroup(name="deep", processes=chain)
    lines = text.render(outcomes.Processes(project="p", services=(group,), rejected=()), PLAIN)
    assert len(lines) == 2001
    assert max(map(columns, lines)) <= 80


def test_a_process_that_is_its_own_parent_is_shown_once():
    group = outcomes.ProcessGroup(name="odd", processes=(process(5, 5),))
    lines = text.render(outcomes.Processes(project="p", services=(group,), rejected=()), PLAIN)
    assert sum(line.startswith("  5 ") for line in lines) == 1


def test_start_names_url_pid_log_and_what_failed():
    lines = text.render(STARTED, PLAIN)
    assert lines[0] == "backend: started (0.61 s)  http://127.0.0.1:8000  PID 4711"
    assert lines[1] == "  log /x/b.log"
    assert "db: already running  PID 12" in lines
    assert "  hint: npm install" in lines
    assert r"  | \x1b]0;title\x07" in lines


def test_stop_tells_every_process_by_how_it_ended():
    lines = text.render(STOPPED, PLAIN)
    assert lines[0] == "backend: stopped 2 processes, killed 1 process, 1 process still there"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["4711", "stopped"],
        ["4712", "stopped"],
        ["4713", "killed"],
    ]
    assert any("survived: it runs as postgres" in line for line in lines)
    assert "frontend: nothing to stop" in lines
    assert lines[-1] == "stopped 3 processes in 0.21 s"
    one = replace(STOPPED, ok=True, services=(outcomes.Stopped(name="backend", stopped=(1, 2, 3)),))
    assert text.render(one, PLAIN)[0] == "backend: stopped 3 processes (0.21 s)"


def test_what_is_not_ours_is_named_with_pid_program_and_folder():
    lines = text.render(STOPPED, PLAIN)
    shown = [line for line in lines if "vim" in line]
    assert len(shown) == 5
    assert all(" in /srv/shop" in line for line in shown)
    assert "    and 2 more; --why lists them" in lines
    assert sum("vim /" in line for line in text.render(STOPPED, PLAIN, why=True)) == 7


def test_a_dry_run_says_would_and_once_that_nothing_was_touched():
    stop = replace(
        STOPPED, dry_run=True, ok=True, services=(outcomes.Stopped(name="b", stopped=(1,), killed=(2,)),)
    )
    start = replace(STARTED, dry_run=True, services=STARTED.services[:1])
    lines = text.render(outcomes.RestartReport(ok=True, stop=stop, start=start), PLAIN)
    assert lines[0] == "b: would stop 1 process, would kill 1 process"
    assert sum("would start" in line for line in lines) == 1
    assert lines.count("dry run: nothing was touched") == 1


def test_a_restart_that_could_not_stop_says_that_nothing_was_started():
    empty = outcomes.StartReport(ok=False, dry_run=False, services=())
    lines = text.render(outcomes.RestartReport(ok=False, stop=STOPPED, start=empty), PLAIN)
    assert lines[-1] == "nothing was started: what survived must go first"


def test_clean_names_the_command_that_stops_what_runs():
    lines = text.render(CLEANED, PLAIN)
    assert "backend still runs (PID 7); stop-backend stops it" in lines
    assert "worker.2 still runs (PID 8); stop --only worker.2 stops it" in lines


def test_empty_reports_say_so():
    assert text.render(outcomes.StartReport(ok=True, dry_run=False, services=()), PLAIN) == ["nothing to start"]
    assert text.render(outcomes.LogLines(lines=()), PLAIN) == ["no log lines"]
    assert text.render(outcomes.CleanReport(dry_run=False, removed=(), running=()), PLAIN) == [
        "nothing stale to remove"
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (-1, "0s"),
        (59.9, "59s"),
        (60, "1m 00s"),
        (3599, "59m 59s"),
        (3600, "1h 00m"),
        (180_000, "2d 2h"),
    ],
)
def test_durations(seconds: float | None, said: str):
    assert words.duration(seconds) == said


@given(st.text(max_size=200), st.integers(8, 120))
@settings(max_examples=200, deadline=None)
def test_shortened_text_fits_and_keeps_both_ends(words: str, room: int):
    short = PLAIN.shorten(words, room)
    assert columns(short) <= room
    assert short == words or "…" in short


# --- CI ----------------------------------------------------------------------------------------------


def test_github_gets_groups_and_errors_and_is_not_fooled():
    lines = text.render(STARTED, Look(forge="github"))
    assert "::error title=devtasks::frontend: exited (0.30 s): exit code 1 after 0.3 s" in lines
    assert "::group::frontend's last words:" in lines
    assert lines[lines.index("::group::frontend's last words:") :].count("::endgroup::") == 1
    ours = ("::error title=devtasks::", "::group::", "::endgroup::")
    for line in [*lines, *text.render(LOGS, Look(forge="github")), *text.render(STOPPED, Look(forge="github"))]:
        assert not line.lstrip().startswith("::") or line.startswith(ours)
        assert "##[" not in line


def test_github_annotations_escape_what_would_end_them():
    [line] = text.error("50% of\nit failed", "try again", Look(forge="github"))
    assert line == "::error title=devtasks::50%25 of%0Ait failed%0Ahint: try again"


def test_gitlab_gets_sections():
    lines = text.render(STARTED, Look(forge="gitlab"))
    begin = next(line for line in lines if "section_start" in line)
    assert begin.startswith("\x1b[0Ksection_start:")
    assert begin.endswith("frontend's last words:")
    assert any(line.startswith("\x1b[0Ksection_end:") for line in lines)


# --- where it goes -----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("flag", "environ", "terminal", "color"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "0"}, True, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_by_flag_then_variables_then_terminal(
    flag: str, environ: dict[str, str], terminal: bool, color: bool
):
    stream = Terminal() if terminal else io.StringIO()
    assert look_for(stream, color=flag, environ=environ).color is color


def test_a_stream_that_cannot_encode_gets_ascii_and_escapes(monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    assert not look.look_for(sys.stdout, environ={}).unicode
    Output(json=False, environ={}).lines(["caf\u00e9 \u2603"])
    assert raw.getvalue() == b"caf\\xe9 \\u2603\n"


def test_progress_goes_to_stderr_when_stdout_is_json(capsys: pytest.CaptureFixture[str]):
    Output(json=True, environ={}).tell("waiting")
    assert capsys.readouterr() == ("", "waiting\n")
    Output(json=False, environ={}).tell("waiting")
    assert capsys.readouterr() == ("waiting\n", "")


def test_errors_have_a_hint_and_in_json_an_object(capsys: pytest.CaptureFixture[str]):
    Output(json=False, environ={}).complain(UsageError("no service is called x", hint="try y"))
    assert capsys.readouterr() == ("", "error: no service is called x\nhint: try y\n")
    Output(json=True, environ={"GITHUB_ACTIONS": "true"}).complain(ConfigError("p.toml", ("a: bad", "b: worse")))
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert (said["version"], said["ok"], said["error"]["exit_code"]) == (1, False, 2)
    assert said["error"]["problems"] == ["a: bad", "b: worse"]
    assert said["error"]["message"].splitlines()[1:] == ["  a: bad", "  b: worse"]
    assert err == "error: p.toml: 2 mistakes\n  a: bad\n  b: worse\n"


def test_an_error_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]):
    Output(json=False, environ={}).complain(DevtasksError("bad \x1b[2J --password x"))
    assert capsys.readouterr().err == "error: bad \\x1b[2J --password ***\n"


# --- JSON --------------------------------------------------------------------------------------------

SHAPES = {
    "export": ({"version", "ok", "target", "output", "written", "files", "services", "unmapped", "commands"}, {}),
    "status": ({"version", "project", "environment", "services"}, {}),
    "health": ({"version", "ok", "services"}, {}),
    "processes": ({"version", "project", "services", "rejected"}, {}),
    "start": ({"version", "ok", "services"}, {}),
    "stop": ({"version", "ok", "dry_run", "seconds", "services"}, {}),
    "restart": ({"version", "ok", "stop", "start"}, {}),
    "clean": ({"version", "removed", "running"}, {}),
    "explain": ({"version", "pid", "verdict", "rules"}, {}),
    "logs": ({"version", "lines"}, {}),
    "history": ({"version", "project", "events"}, {}),
    "init": ({"version", "path", "written", "content"}, {}),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_json_is_one_line_with_the_promised_keys_and_no_secrets(name: str):
    line = shapes.render(EVERYTHING[name])
    said = json.loads(line)
    assert said["version"] == 1
    assert SHAPES[name][0] <= set(said)
    assert "\n" not in line
    assert line.isascii()
    assert "hunter2" not in line
    assert r"\u001b" not in line


def test_json_rows_have_the_promised_keys():
    status = json.loads(shapes.render(STATUS))["services"]
    assert {
        "name", "state", "health", "pid", "ports", "uptime_seconds", "restarts", "cpu_percent", "rss_bytes",
        "processes", "holder",
    } <= set(status[0])  # fmt: skip
    assert set(status[1]["holder"]) == {"pid", "command", "cwd"}
    assert status[0]["uptime_seconds"] == 11_532.4
    shown = json.loads(shapes.render(PROCESSES))
    assert {
        "pid", "ppid", "command", "cwd", "started_at", "cpu_percent", "rss_bytes", "ports", "evidence",
    } <= set(shown["services"][0]["processes"][0])  # fmt: skip
    assert shown["services"][0]["processes"][0]["evidence"][0] == {"kind": "pid-file", "detail": "backend.pid"}
    assert {"pid", "service", "command", "reason"} <= set(shown["rejected"][0])
    started = json.loads(shapes.render(STARTED))["services"][0]
    assert {"name", "outcome", "pid", "seconds"} <= set(started)
    stopped = json.loads(shapes.render(STOPPED))["services"][0]
    assert {"name", "stopped", "killed", "survivors", "rejected"} <= set(stopped)
    assert set(stopped["survivors"][0]) == {"pid", "reason"}
    assert json.loads(shapes.render(CLEANED))["running"] == [
        {"service": "backend", "pid": 7},
        {"service": "worker.2", "pid": 8},
    ]
    explained = json.loads(shapes.render(EXPLAINED))
    assert explained["rules"][1]["holds"] is None
    assert explained["explanations"][0]["pid"] == 5


def test_json_has_no_numbers_that_are_none():
    odd = replace(STATUS, services=(service(cpu_percent=float("nan"), uptime_seconds=float("inf")),))
    row = json.loads(shapes.render(odd))["services"][0]
    assert row["cpu_percent"] is None
    assert row["uptime_seconds"] is None


def test_json_of_undecodable_words_is_valid_unicode():
    holder = outcomes.Holder(pid=1, command="a\udcffb", cwd="/x\udcfe")
    said = json.loads(shapes.render(replace(STATUS, services=(service(holder=holder),))))
    assert said["services"][0]["holder"]["command"] == r"a\xffb"
    json.dumps(said, ensure_ascii=False).encode()


# --- secrets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("db --password hunter2 --port 5", "db --password *** --port 5"),
        ("db --password=hunter2", "db --password=***"),
        ("db --db-password 'two words' x", "db --db-password *** x"),
        ("env API_KEY=hunter2 run", "env API_KEY=*** run"),
        ("env DATABASE_PASSWORD=hunter2 SECRET_KEY_BASE=hunter2", "env DATABASE_PASSWORD=*** SECRET_KEY_BASE=***"),
        ("psql postgres://user:hunter2@db/x", "psql postgres://user:***@db/x"),
        ("redis-server redis://:hunter2@db:6379/0", "redis-server redis://:***@db:6379/0"),
        ("curl -H 'Authorization: Bearer hunter2' url", "curl -H 'Authorization: ***' url"),
        ("curl -H Authorization:hunter2 url", "curl -H Authorization:*** url"),
        ('curl -H "X-Api-Key: hunter2" url', 'curl -H "X-Api-Key: ***" url'),
        ("curl -u me:hunter2 https://x", "curl -u me:*** https://x"),
        ("sshpass -p hunter2 ssh host", "sshpass -p *** ssh host"),
        ("mysql -u root -phunter2 shop", "mysql -u root -p*** shop"),
        ("redis-cli -h x -a hunter2", "redis-cli -h x -a ***"),
        ("git clone https://ghp_0123456789abcdef0123@github.com/x", "git clone https://***@github.com/x"),
        ("""node -e '{"password": "hunter2", "a": 1}'""", """node -e '{"password": ***, "a": 1}'"""),
        ("aws --secret-access-key hunter2", "aws --secret-access-key ***"),
    ],
)
def test_secrets_are_masked(command: str, shown: str):
    assert masked(command) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "command",
    [
        "uvicorn main:app --host 127.0.0.1 --port 8000",
        "docker login --password-stdin registry",
        "app --token-file /run/secrets/token",
        "app --no-password --verbose",
        "ssh git@github.com",
        "curl http://127.0.0.1:8000/token",
        "python manage.py runserver 0.0.0.0:8000",
        "vite --port 5173 --base /pass/",
        "node --max-old-space-size=4096 server.js",
        "make tokens passwords",
    ],
)
def test_ordinary_words_are_left_alone(command: str):
    assert masked(command) == command


@given(st.text(alphabet=st.sampled_from("ab -=:/@'\"{},password token secret*&;"), max_size=80))
@settings(max_examples=300, deadline=None)
def test_masking_twice_changes_nothing_more(command: str):
    once = masked(command)
    assert masked(once) == once


def test_masking_a_long_command_line_is_quick():
    import time

    began = time.process_time()
    masked("password" * 5000 + " --token" * 2000 + "a:" * 5000 + "mysql " * 3000 + "://" * 3000)
    assert time.process_time() - began < 5
