"""The `devtasks` command: positions, help, suggestions, output in all circumstances."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from toolbox import Scratch, free_port

from devtasks.command import cli
from devtasks.command.tasks import VERBS
from devtasks.errors import UsageError
from devtasks.version import __version__


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    """Two services and one that is called like a task; none of them is started."""
    idle = {"command": ["sleep", "1000"]}
    scratch.declare({"backend": idle, "frontend": idle, "logs": idle})
    return scratch


def expanded(shop: Scratch, *words: str) -> list[tuple[str, dict[str, object]]]:
    """The calls that a command line comes to."""
    program = cli.Devtasks(print)
    program.execute = lambda: None  # type: ignore[method-assign]
    program.run(["devtasks", "-C", str(shop.root), *words])
    return [(call.name, {key: value for key, value in call.as_kwargs.items() if value}) for call in program.tasks]


@pytest.mark.parametrize(
    ("line", "calls"),
    [
        ("stop", [("stop", {})]),
        ("stop backend", [("stop", {"only": ["backend"]})]),
        ("stop backend frontend", [("stop", {"only": ["backend", "frontend"]})]),
        ("stop backend --timeout 5 frontend", [("stop", {"only": ["backend", "frontend"], "timeout": "5"})]),
        ("stop --timeout=5 backend", [("stop", {"only": ["backend"], "timeout": "5"})]),
        ("stop --only backend frontend", [("stop", {"only": ["backend", "frontend"]})]),
        ("logs logs", [("logs", {"only": ["logs"]})]),
        ("stop logs", [("stop", {"only": ["logs"]})]),
        ("stop backend.2", [("stop", {"only": ["backend.2"]})]),
        ("stop start", [("stop", {}), ("start", {})]),
        ("stop backend start backend", [("stop", {"only": ["backend"]}), ("start", {"only": ["backend"]})]),
        ("stop start stop", [("stop", {}), ("start", {}), ("stop", {})]),
        ("start-backend logs-frontend --lines 3", [("start-backend", {}), ("logs-frontend", {"lines": "3"})]),
        ("stop --timeout -5", [("stop", {"timeout": "-5"})]),
        ("stop --only stop", [("stop", {"only": ["stop"]})]),
    ],
)
def test_service_names_stand_at_positions(shop: Scratch, line: str, calls: list[tuple[str, dict[str, object]]]):
    assert expanded(shop, *line.split()) == calls


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("strat", 'no task is called "strat"; did you mean "start"?'),
        ("stop-bakend", 'no task is called "stop-bakend"; did you mean "stop-backend"?'),
        ("stop bakend", 'no service or task is called "bakend"; did you mean "backend"?'),
        ("stop_backend", 'no task is called "stop_backend"; did you mean "stop-backend"?'),
        ("start-backend frontend", "start-backend takes no service names"),
        ("stop --jsn", "stop has no flag --jsn; did you mean --json?"),
        ("stop -j", "stop has no flag -j"),
        ("status --force", "status has no flag --force"),
        ("--verison", "devtasks has no flag --verison; did you mean --version?"),
        ("--json stop", "--json goes after the task: devtasks TASK --json"),
        ("stop --timeout", "--timeout needs a value"),
        ("stop --timeout 1 --timeout 2", "--timeout is given twice"),
        ("stop --json=1", "--json takes no value"),
        ("stop -C x", "-C goes before the task"),
        ("stop -- x", "nothing may follow --"),
        ("--help strat", 'no task is called "strat"; did you mean "start"?'),
        ("-C /nowhere/at/all stop", '--root: there is no folder "/nowhere/at/all"'),
        ("-C", "-C needs a value"),
        ("--print-completion-script tcsh", '--print-completion-script: "tcsh" is none of bash, zsh, fish'),
        ("stop --timeout abc", "--timeout: 'abc' is not a number of seconds from 0 to 86400"),
        ("start --port 8000 backend frontend", "--port is for one service"),
        ("logs --lines 0", "--lines: '0' is not a number of lines from 1 to 100000"),
    ],
)
def test_mistakes_are_one_line_with_a_suggestion_and_exit_2(
    shop: Scratch, line: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(shop.root)
    with pytest.raises(SystemExit) as ended:
        cli.main(["devtasks", *line.split()])
    out, err = capfd.readouterr()
    assert ended.value.code == 2
    message, *hint = err.splitlines()
    assert message == f"error: {said}"
    assert len(hint) <= 1
    assert all(line.startswith("hint: ") for line in hint)
    assert out == "" or json.loads(out)["error"]["message"] == said


def test_version(shop: Scratch):
    for flag in ("--version", "-V"):
        assert shop.raw(flag).stdout == f"devtasks {__version__}\n"


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_alone_it_lists_the_tasks_by_topic(shop: Scratch, words: tuple[str, ...]):
    done = shop.raw(*words)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: devtasks TASK [SERVICE ...]")
    for verb in VERBS:
        assert re.search(rf"^  {verb.name}  +{re.escape(verb.help)}$", done.stdout, re.MULTILINE), verb.name
    assert "Services: backend, frontend, logs." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("words", [("stop", "--help"), ("--help", "stop"), ("stop", "-h")])
def test_help_of_a_task(shop: Scratch, words: tuple[str, ...]):
    done = shop.raw(*words)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: devtasks stop [SERVICE ...] [FLAG ...]\n\nStop all services")
    assert "--timeout SECONDS" in done.stdout
    assert "Usage: devtasks stop-backend [FLAG ...]" in shop.raw("stop-backend", "--help").stdout


def test_the_list_has_the_tasks_of_every_service(shop: Scratch):
    listed = {line.split()[0] for line in shop.raw("--list").stdout.splitlines()}
    assert {"stop", "stop-backend", "force-clean-frontend", "logs-logs"} <= listed


def test_the_project_is_found_from_below_or_named(shop: Scratch, tmp_path: Path):
    below = shop.root / "src" / "deep"
    below.mkdir(parents=True)
    for words, cwd in (((), below), (("-C", str(shop.root)), tmp_path), ((f"--root={shop.root}",), tmp_path)):
        done = shop.raw(*words, "status", "--json", cwd=cwd)
        assert [row["name"] for row in json.loads(done.stdout)["services"]] == ["backend", "frontend", "logs"]
    assert cli.folder_for(str(below)) == shop.root
    with pytest.raises(UsageError):
        cli.folder_for(str(shop.root / "devtasks.toml"))


def test_without_services_it_says_how_to_name_one(scratch: Scratch):
    done = scratch.raw("stop")
    assert done.returncode == 2
    assert "no services are configured in" in done.stderr
    assert "[tool.devtasks.services.backend]" in done.stderr
    assert scratch.raw().returncode == 0
    assert not scratch.state.exists()


@pytest.mark.parametrize("verb", sorted({verb.name for verb in VERBS} - {"init", "explain", "free-port"}))
def test_every_verb_has_valid_json_with_nothing_running(shop: Scratch, verb: str):
    if verb == "serve":
        report = shop.run(verb, "main:app", "--dry-run", "--port", str(free_port()))
    elif verb in ("start", "restart", "up"):
        report = shop.run(verb, "--dry-run")
        assert report.get("dry_run", report.get("start", {}).get("dry_run")) is True
    elif verb == "health":
        report = shop.run(verb, expect=1)
        assert {row["health"] for row in report["services"]} == {"unhealthy"}
    elif verb == "dashboard":
        report = shop.run(verb, "--dry-run")
    elif verb == "export":
        report = shop.run(verb, "--to", "systemd", "--dry-run")
        assert report["written"] is False
    elif verb == "monitor":
        report = shop.run("--dry", verb)
        assert (report["dry_run"], report["state"], report["pid"]) == (True, "started", None)
        assert shop.run(verb, "--status")["state"] == "not-watching"
    elif verb == "top":
        report = shop.run(verb, "--count", "1")
    else:
        report = shop.run(verb)
    assert report["version"] == 1


def test_explain_and_init_have_json(shop: Scratch, tmp_path: Path):
    report = shop.run("explain", "--pid", str(os.getpid()))
    assert report["pid"] == os.getpid()
    assert report["verdict"].startswith("not ours")
    assert {"rule", "holds", "detail"} <= set(report["rules"][0])
    assert shop.run("init", expect=2)["ok"] is False
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "Procfile").write_text("web: python -m http.server 8000\n")
    where = ("-C", str(tmp_path / "new"))
    shown = shop.run(*where, "init", "--dry-run")
    assert (shown["written"], shown["path"]) == (False, None)
    written = shop.run(*where, "init")
    assert written["written"] is True
    assert "http.server" in Path(written["path"]).read_text()
    assert "web" in shop.raw(*where, "--list").stdout


def test_errors_are_an_object_with_json(shop: Scratch):
    report = shop.run("stop", "bakend", expect=2)
    assert report["ok"] is False
    assert "did you mean" in report["error"]["message"]
    (shop.root / "devtasks.toml").write_text('[services.backend]\ncommand = "x"\nprot = 1\n')
    report = shop.run("status", expect=2)
    assert any("prot" in problem for problem in report["error"]["problems"])


def test_json_stays_alone_on_stdout_in_ci(shop: Scratch):
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        done = shop.raw("stop", "--json", env={name: "true", "FORCE_COLOR": "1"})
        assert json.loads(done.stdout)["ok"] is True
        assert "\x1b" not in done.stdout


def test_a_reader_that_leaves_is_no_error(shop: Scratch):
    for words in ("status", "--help", "--list", "show-processes"):
        read, write = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "devtasks", words],
                cwd=shop.root,
                env=shop.stage.environ,
                stdout=write,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(write)
        assert (done.returncode, done.stderr) == (0, ""), words


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said(shop: Scratch):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "devtasks", "status"],
            cwd=shop.root,
            env=shop.stage.environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_closed_streams_do_not_matter(shop: Scratch):
    command = f"{sys.executable} -m devtasks status"
    for redirection in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"{command} {redirection}"],
            cwd=shop.root,
            env=shop.stage.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (redirection, done.stderr)


def test_output_survives_a_terminal_that_cannot_encode_it(scratch: Scratch):
    scratch.declare({"web": {"command": ["sleep", "1000"]}}, project="caf\u00e9 \u2603")
    for environ in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        done = scratch.raw("status", env=environ)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("caf\\xe9 \\u2603 (development)")


def test_colour_is_off_when_piped_and_on_when_forced(shop: Scratch):
    assert "\x1b" not in shop.raw("status").stdout
    assert "\x1b[" in shop.raw("status", env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[" in shop.raw("status", "--color", "always").stdout
    assert "\x1b" not in shop.raw("status", "--color", "never", env={"FORCE_COLOR": "1"}).stdout


def test_a_configuration_of_invoke_is_not_ours(shop: Scratch):
    home = Path(shop.stage.environ["HOME"])
    (home / ".invoke.yaml").write_text("run: [broken\n")
    (home / ".devtasks.yaml").write_text("run: [broken\n")
    assert shop.raw("status").returncode == 0


def test_a_folder_that_is_gone_is_one_line(shop: Scratch, tmp_path: Path):
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'rmdir "$PWD"; exec {sys.executable} -P -m devtasks status'],
        cwd=doomed,
        env=shop.stage.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
