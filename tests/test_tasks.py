"""The Invoke tasks: how a tasks.py adopts them, their flags, and what becomes of errors and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.program import Program
from toolbox import Scratch, eventually

import devtasks
from devtasks import outcomes
from devtasks.command import edge, options, perform, tasks
from devtasks.errors import Interrupted, Refused, UsageError
from devtasks.report.output import Output

TABLE = """
[tool.devtasks]
[tool.devtasks.services.backend]
command = "sleep 1000"
[tool.devtasks.services.front-end]
command = "sleep 1000"
"""
OWN_TASKS = """
from invoke.tasks import task
import devtasks
from helpers import lint

@task
def stop(c):
    "My own stop."
    print("own stop")

@task(aliases=["t"], default=True)
def test(c):
    "Run the tests."

check = lint
ns = devtasks.collection(__name__)
"""
GLOBAL = {
    "start", "stop", "restart", "force-clean", "clean", "status", "show-processes", "explain", "ports", "logs",
    "free-port", "history", "serve", "init", "top",
    "health", "dashboard", "export",
    "monitor", "up",
}  # fmt: skip
EACH = {"start", "stop", "restart", "force-clean", "logs"}
NAMES = GLOBAL | {f"{verb}-{service}" for verb in EACH for service in ("backend", "front-end")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(TABLE)
    (tmp_path / "tasks.py").write_text("from devtasks import ns\n")
    return tmp_path


def inv(folder: Path, *words: str, module: tuple[str, ...] = ("-m", "invoke")) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(Path(devtasks.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, *module, *words],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def listed(folder: Path, *words: str) -> list[str]:
    done = inv(folder, *words, "--list", "--list-format=json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    def names(node: dict[str, Any], prefix: str) -> list[str]:
        own = [prefix + item["name"] for item in node["tasks"]]
        return own + [name for sub in node["collections"] for name in names(sub, f"{prefix}{sub['name']}.")]

    return names(found, "")


# --- adoption ----------------------------------------------------------------------------------------


def test_one_line_adopts_every_task(project: Path):
    found = listed(project)
    assert sorted(found) == sorted(NAMES)
    plain = inv(project, "--list").stdout
    assert "Stop backend, whole." in plain


def test_the_folder_is_that_of_the_tasks_file_wherever_inv_is_called(project: Path, tmp_path_factory: Any):
    below = project / "src" / "deep"
    below.mkdir(parents=True)
    assert "stop-backend" in listed(below)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert "stop-backend" in listed(elsewhere, "-r", str(project))
    (project / "other.py").write_text("from devtasks import ns\n")
    assert "stop-backend" in listed(project, "-c", "other")


def test_a_package_of_tasks_belongs_to_the_folder_around_it(project: Path):
    (project / "tasks.py").unlink()
    (project / "tasks").mkdir()
    (project / "tasks" / "__init__.py").write_text("from .dev import ns\n")
    (project / "tasks" / "dev.py").write_text("from devtasks import ns\n")
    assert "stop-backend" in listed(project)


def test_a_linked_tasks_file_belongs_where_the_link_is(project: Path, tmp_path_factory: Any):
    shared = tmp_path_factory.mktemp("shared") / "tasks.py"
    shared.write_text("from devtasks import ns\n")
    (project / "tasks.py").unlink()
    (project / "tasks.py").symlink_to(shared)
    assert "stop-backend" in listed(project)


def test_own_tasks_are_listed_too_and_win(project: Path):
    (project / "helpers.py").write_text("from invoke.tasks import task\n@task\ndef lint(c):\n    'Lint.'\n")
    (project / "tasks.py").write_text(OWN_TASKS)
    found = listed(project)
    assert sorted(found) == sorted(NAMES | {"test", "lint"})
    assert inv(project, "stop").stdout == "own stop\n"
    assert inv(project, "t").returncode == 0


def test_a_namespace_of_ones_own_is_kept(project: Path):
    (project / "tasks.py").write_text(
        "from invoke import Collection, task\nimport devtasks\n"
        "@task\ndef build(c): pass\n@task\ndef hidden(c): pass\n"
        "ns = Collection(build, Collection('docs', task(lambda c: None, name='html')))\n"
        "ns = devtasks.collection(__name__)\n"
    )
    found = listed(project)
    assert {"build", "docs.html", "stop"} <= set(found)
    assert "hidden" not in found


@pytest.mark.parametrize("ours", ["devtasks.collection()", "ns"])
def test_under_a_prefix(project: Path, ours: str):
    (project / "tasks.py").write_text(
        "from invoke import Collection\nimport devtasks\nfrom devtasks import ns\n"
        f"namespace = Collection()\nnamespace.add_collection({ours}, name='dev')\ndel ns\n"
    )
    assert sorted(listed(project)) == sorted(f"dev.{name}" for name in NAMES)
    assert inv(project, "dev.status", "--json").returncode == 0


def test_without_a_name_the_prefix_is_dev(project: Path):
    outer = Collection()
    outer.add_collection(devtasks.collection(root=project))
    assert "dev.stop" in outer.task_names


def test_two_projects_side_by_side_do_not_share_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Invoke drops a call that equals an earlier one: the tasks of two projects must differ."""
    folders = []
    outer = Collection()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "devtasks.toml").write_text('[services.web]\ncommand = "x"\n')
        outer.add_collection(devtasks.collection(root=tmp_path / name), name=name)
    monkeypatch.setattr(perform, "perform", lambda *given, **_kw: folders.append(given[1].name) or 0)
    Program(namespace=outer).run("inv a.stop b.stop a.stop-web b.stop-web", exit=False)
    assert folders == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        "[tool.devtasks.services.backend]\ncommand = \n",
        '[tool.devtasks.services.backend]\ncommand = "x"\nprot = 1\n',
        "[tool.devtasks.services.backend]\n",
        "[tool.devtasks]\nservices = 3\n",
    ],
)
def test_a_broken_configuration_is_said_when_called_and_not_before(project: Path, content: str):
    (project / "pyproject.toml").write_text(content)
    (project / "tasks.py").write_text(
        "from invoke.tasks import task\nimport devtasks\n"
        "@task\ndef own(c): print('own')\n"
        "ns = devtasks.collection(__name__)\n"
    )
    found = listed(project)
    assert {"own", "stop"} <= set(found)
    assert ("stop-backend" in found) is ("backend" in content)
    assert inv(project, "own").stdout == "own\n"
    assert "--only" in inv(project, "--complete", "--", "inv stop --o").stdout
    done = inv(project, "stop")
    assert done.returncode == 2
    assert "pyproject.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_the_package_imports_no_invoke():
    code = "import devtasks, sys; print([n for n in sys.modules if n.startswith(('invoke', 'devtasks.'))])"
    assert inv(Path.cwd(), "-c", code, module=()).stdout == "['devtasks.version']\n"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        devtasks.nonsense  # noqa: B018


def test_a_listing_imports_nothing_that_only_running_needs(project: Path):
    code = (
        "import sys; from invoke.main import program; before = set(sys.modules);"
        "program.run(['inv', '--list'], exit=False); print(sorted((set(sys.modules) - before) &"
        "{'psutil', 'colorama', 'sqlite3', 'asyncio', 'difflib', 'socket', 'json', 'hashlib', 'textwrap',"
        "'devtasks.command.perform', 'devtasks.verbs', 'devtasks.report', 'devtasks.outcomes', 'devtasks.world'}))"
    )
    done = inv(project, "-c", code, module=())
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_what_a_task_imports_stays_compiled_although_invoke_forbids_it(scratch: Scratch):
    scratch.declare({"web": {"command": ["sleep", "1"]}})
    cache = scratch.root / "compiled"
    environ = {**scratch.stage.environ, "PYTHONPYCACHEPREFIX": str(cache)}
    for forbidden in ("1", ""):
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "status"],
            cwd=scratch.root,
            env={**environ, "PYTHONDONTWRITEBYTECODE": forbidden},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        names = {path.name.partition(".")[0] for path in cache.rglob("*.pyc")}
        assert ({"tasks", "perform", "verbs", "text"} <= names) is not bool(forbidden)


def test_a_task_can_be_called_from_python(project: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(perform, "perform", lambda *_args, **_kw: calls.append(_args[3]) or 3)
    stop = devtasks.collection(root=project)["stop"]
    with pytest.raises(Exit) as ended:
        stop(Context(), only=["backend"], dry_run=True)
    assert ended.value.code == 3
    assert calls == [{"only": ["backend"], "dry_run": True}]


# --- flags -------------------------------------------------------------------------------------------


def test_every_task_and_flag_has_help_and_no_short_form(project: Path):
    for context in devtasks.collection(root=project).to_contexts():
        assert "only" not in context.args or context.name in GLOBAL
        for flag, argument in context.flags.items():
            assert flag.startswith("--"), (context.name, flag)
            assert argument.help, (context.name, flag)
    for verb in tasks.VERBS:
        assert len(verb.help) <= 55
        assert verb.help.endswith(".")


def test_the_flags_of_the_contract(project: Path):
    ns = devtasks.collection(root=project)
    offered = {name: {f"--{options.dashed(flag)}" for flag in ns[name].flags} for name in ns.task_names}
    assert all("--json" in flags for flags in offered.values())
    assert offered["stop"] == {"--only", "--timeout", "--why", "--dry-run", "--json", "--color"}
    assert {"--only", "--timeout", "--port", "--host", "--dry-run"} <= offered["start"]
    assert {"--force", "--timeout"} <= offered["restart"]
    assert "--check" in offered["status"]
    assert "--why" in offered["show-processes"]
    assert "--keep-logs" in offered["force-clean-backend"]
    assert "--older-than" in offered["clean"]
    assert "--lines" in offered["logs-backend"]
    assert {"--pid", "--port"} <= offered["explain"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "timeout",
            {"5": 5.0, "0": 0.0, "0.25": 0.25, 3: 3.0},
            ["abc", "nan", "inf", "-1", "1e3", "1_0", "\u0663", "99999999", "5s", "+5", ""],
        ),
        (
            "port",
            {"8000": 8000, "1": 1, 65535: 65535},
            ["abc", "0", "65536", "-1", "8000.0", "\uff18\uff10", "9" * 11],
        ),
        ("pid", {"1": 1, "4194304": 4194304}, ["0", "-1", "4194305", "self", "10" * 20]),
        ("lines", {"1": 1, "100000": 100000}, ["0", "x", "-5", "1.5"]),
        ("older_than", {"7": 7.0, "0": 0.0, "0.5": 0.5}, ["x", "7d", "-1", "inf"]),
        (
            "host",
            {"0.0.0.0": "0.0.0.0", "::1": "::1", "my-host.local": "my-host.local"},
            ["", "-x", "a b", "a;b", "\n"],
        ),
        ("color", {"always": "always"}, ["yes", ""]),
    ],
)
def test_values_are_checked(name: str, good: dict[Any, object], bad: list[str]):
    for text, value in good.items():
        assert getattr(options.checked({name: text}), name) == value
    for text in bad:
        with pytest.raises(UsageError) as refused:
            options.checked({name: text})
        assert str(refused.value).startswith(f"--{options.dashed(name)}: ")
        assert "\n" not in str(refused.value)


def test_absent_values_are_the_defaults_and_names_are_taken_once():
    flags = options.checked({"only": ["a", "b", "a"], "timeout": None, "json": False, "lines": None})
    assert flags == options.Flags(only=("a", "b"))
    with pytest.raises(UsageError, match="--nonsense"):
        options.checked({"nonsense": 1})


@pytest.fixture
def asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[Any]]:
    """Run a command line; what the verbs were asked for, without doing it."""
    seen: list[Any] = []
    nothing = outcomes.StopReport(ok=True, dry_run=False, seconds=0, services=())
    begun = outcomes.StartReport(ok=True, dry_run=False, services=())

    def fake(name: str, outcome: object) -> None:
        def verb(scope: Any, names: tuple[str, ...] = (), **rest: object) -> object:
            ports = [service.ports for service in scope.project.services]
            seen.append((name, names, {**rest, "ports": ports} if any(ports) else rest))
            return outcome

        monkeypatch.setattr(perform.verbs, name, verb)

    fake("start", begun)
    fake("stop", nothing)
    fake("force_clean", nothing)
    fake("restart", outcomes.RestartReport(ok=True, stop=nothing, start=begun))
    fake("clean", outcomes.CleanReport(dry_run=False, removed=(), running=()))
    fake("status", outcomes.Status(project="p", environment="e", services=()))
    fake("health", outcomes.HealthReport(services=()))
    fake("show_processes", outcomes.Processes(project="p", services=(), rejected=()))
    fake("explain", outcomes.ExplainReport(explanations=()))
    fake("logs", outcomes.LogLines(lines=()))

    def run(line: str) -> list[Any]:
        seen.clear()
        Program(namespace=devtasks.collection(root=project)).run(f"inv {line}", exit=False)
        return list(seen)

    return run


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("start", ("start", (), {"timeout_seconds": None, "dry_run": False})),
        (
            "start --only backend --timeout 2.5",
            ("start", ("backend",), {"timeout_seconds": 2.5, "dry_run": False}),
        ),
        ("stop-front-end --dry-run", ("stop", ("front-end",), {"timeout_seconds": None, "dry_run": True})),
        ("--dry stop", ("stop", (), {"timeout_seconds": None, "dry_run": True})),
        ("stop --dry", ("stop", (), {"timeout_seconds": None, "dry_run": True})),
        (
            "stop --only backend --only=front-end",
            ("stop", ("backend", "front-end"), {"timeout_seconds": None, "dry_run": False}),
        ),
        (
            "force-clean --keep-logs",
            ("force_clean", (), {"timeout_seconds": None, "dry_run": False, "keep_logs": True}),
        ),
        (
            "restart-backend --force --timeout=1",
            ("restart", ("backend",), {"timeout_seconds": 1.0, "dry_run": False, "force": True}),
        ),
        ("clean --older-than 0.5", ("clean", (), {"older_than_days": 0.5, "dry_run": False})),
        ("status --only backend", ("status", ("backend",), {"check": False})),
        ("health --only backend --timeout 2", ("health", ("backend",), {"timeout_seconds": 2.0})),
        ("show-processes", ("show_processes", (), {})),
        ("explain --pid 12", ("explain", (), {"pid": 12, "port": None})),
        ("explain --port 80", ("explain", (), {"pid": None, "port": 80})),
        (
            "logs-backend --lines 3 --since 1970-01-02T00:00:00Z",
            ("logs", ("backend",), {"lines": 3, "since": 86400.0, "matches": None}),
        ),
        (
            "start-backend --port 8123 --host 0.0.0.0",
            ("start", ("backend",), {"timeout_seconds": None, "dry_run": False, "ports": [(8123,), ()]}),
        ),
    ],
)
def test_flags_reach_the_verbs(asked: Callable[[str], list[Any]], line: str, call: object):
    assert asked(line) == [call]


def test_several_tasks_run_in_order_and_values_do_not_stick(asked: Callable[[str], list[Any]]):
    calls = asked("stop --only backend --timeout 1 start restart --only front-end")
    assert [(name, names) for name, names, _ in calls] == [
        ("stop", ("backend",)),
        ("start", ()),
        ("restart", ("front-end",)),
    ]
    assert calls[1][2]["timeout_seconds"] is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stop --timeout abc", "--timeout: 'abc' is not a number of seconds from 0 to 86400"),
        ("start --port abc", "--port: 'abc' is not a port from 1 to 65535"),
        ("stop --only bakend", 'no service is called "bakend"; did you mean "backend"?'),
        ("explain", "explain needs one of --pid PID and --port PORT"),
        ("explain --pid 1 --port 2", "explain needs one of --pid PID and --port PORT"),
        ("start --port 80", "--port is for one service"),
        ("status --color blue", "--color: 'blue' is not one of auto, always, never"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    project: Path, capfd: pytest.CaptureFixture[str], line: str, said: str
):
    with pytest.raises(SystemExit) as ended:
        Program(namespace=devtasks.collection(root=project)).run(f"inv {line}")
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert err.splitlines()[0] == f"error: {said}"
    assert out == ""
    assert not (project / ".devtasks").exists()


# --- what becomes of errors and signals --------------------------------------------------------------


def ends(raised: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def work() -> int:
        raise raised

    code = edge.guarded(work, Output(json=False, environ={}))
    out, err = capsys.readouterr()
    return code, (out + err).strip()


def test_every_error_has_its_code_and_no_traceback(capsys: pytest.CaptureFixture[str]):
    assert ends(Refused("port 80 is a stranger's"), capsys) == (3, "error: port 80 is a stranger's")
    assert ends(UsageError("x", hint="y"), capsys) == (2, "error: x\nhint: y")
    assert ends(Interrupted(signal.SIGTERM), capsys) == (143, "ended by SIGTERM")
    assert ends(Interrupted(signal.SIGHUP), capsys) == (129, "ended by SIGHUP")
    assert ends(KeyboardInterrupt(), capsys) == (130, "interrupted")
    assert ends(OSError(28, "No space left on device", "/x/y"), capsys) == (
        1,
        "error: /x/y: No space left on device",
    )
    code, said = ends(KeyError("odd"), capsys)
    assert code == 1
    assert said.startswith("error: internal error: KeyError: 'odd'\nhint: ")
    assert "Traceback" not in said


def test_the_traceback_is_there_for_who_asks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DEVTASKS_DEBUG", "1")
    assert "Traceback" in ends(KeyError("odd"), capsys)[1]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_are_raised_once_and_handlers_put_back(name: str, capsys: pytest.CaptureFixture[str]):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    undone: list[str] = []

    def work() -> int:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), number)  # an impatient sender does not disturb the undoing
            undone.append("all")
        return 0

    assert edge.guarded(work, Output(json=False, environ={})) == 128 + number
    assert undone == ["all"]
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert edge.guarded(lambda: os.kill(os.getpid(), signal.SIGHUP) or 7, Output(json=False)) == 7
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_nothing_is_installed():
    from concurrent.futures import ThreadPoolExecutor

    def work() -> int:
        return 5

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(edge.guarded, work, Output(json=False)).result() == 5


# --- for real ----------------------------------------------------------------------------------------


def test_a_round_with_plain_inv(scratch: Scratch):
    """start, status, logs, stop with a real service; the codes of --check before and after."""
    scratch.declare({"web": scratch.server()})

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=scratch.root,
            env=scratch.stage.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert run("status", "--check").returncode == 3
    started = run("start")
    assert started.returncode == 0, started.stderr + started.stdout
    assert "web: started" in started.stdout
    assert "http://127.0.0.1:" in started.stdout
    assert "PID" in started.stdout
    assert "log .devtasks/web.log" in started.stdout
    assert run("status", "--check").returncode == 0
    assert json.loads(run("show-processes", "--json").stdout)["services"][0]["processes"]
    [row] = json.loads(run("status", "--json").stdout)["services"]
    assert (row["name"], row["state"]) == ("web", "running")
    explained = run("explain", "--pid", str(row["pid"]))
    assert "verdict: ours" in explained.stdout
    dry = run("--dry", "stop")
    assert "would stop" in dry.stdout
    stopped = run("stop-web")
    assert stopped.returncode == 0, stopped.stderr
    assert "web: stopped 1 process" in stopped.stdout
    assert "nothing to stop" in run("stop").stdout
    assert run("status", "--check").returncode == 3


def test_a_signal_ends_a_waiting_start_with_its_code(scratch: Scratch):
    import time

    scratch.declare({"web": {"command": ["sleep", "1000"], "ready": {"log": "never", "timeout": 60}}})
    starting = scratch.background("start")
    eventually((scratch.state / "web.pid").exists, "the service is started")
    began = time.monotonic()
    starting.send_signal(signal.SIGTERM)
    out, err = starting.communicate(timeout=60)
    assert starting.returncode == 143, out + err
    assert "ended by SIGTERM" in err
    assert time.monotonic() - began < 30
    assert "Traceback" not in err
    scratch.run("stop", expect=0)
