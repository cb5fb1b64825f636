"""What each target makes of a project: the golden files, and what the targets' own parsers say of them."""

from __future__ import annotations

import importlib.resources
import json
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import golden
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtasks.errors import UsageError
from devtasks.export import yaml as emitter
from devtasks.export.command import TARGETS
from devtasks.export.images import question
from devtasks.export.plan import declared, slug, wrapped
from devtasks.model import HealthProbe, Service
from devtasks.values import replace

NOBODY = 65534
PLAIN = Service(name="a", group="a", command=("x",), cwd=Path("/"), pid_file=Path("/p"), log_file=Path("/l"))
HERE = os.environ.get("PATH", "") + os.pathsep + os.path.dirname(sys.executable)


def tool(name: str) -> str:
    found = shutil.which(name, path=HERE)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, **options)


def written(name: str, target: str, folder: Path) -> Path:
    """The files of an export below `folder`, and the env files that they refer to."""
    pages, _, _ = golden.exported(name, target)
    for page in pages:
        path = folder / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(page.content)
    for service in golden.project(name, target).services:
        if service.env_file is not None:
            file = folder / service.env_file.relative_to(golden.ROOT)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("A=b\n")
    return folder


def documents(name: str, target: str) -> list[dict[str, Any]]:
    pages, _, _ = golden.exported(name, target)
    return [found for page in pages for found in yaml.safe_load_all(page.content) if page.path.endswith(".yaml")]


# --- the golden files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden.NAMES)
def test_the_files_are_what_they_were(name: str):
    expected = (golden.EXPORTS / name / "expected.txt").read_text()
    assert "".join(golden.lines(name)) == expected, "if that is right: python tests/golden.py"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", golden.NAMES)
def test_every_key_is_accounted_for(name: str, target: str):
    try:
        _, ledger, _ = golden.exported(name, target)
    except UsageError:
        assert (name, target) == ("hostile", "procfile")
        return
    for service in golden.project(name, target).services:
        told = {remark.key for remark in ledger.remarks if remark.service in (None, service.group)}
        assert set(declared(service)) <= told | set(ledger.mapped[service.group])
    assert not [remark for remark in ledger.remarks if "nothing like it" in remark.text]


@pytest.mark.parametrize("target", TARGETS)
def test_secrets_are_referred_to_and_never_written(target: str):
    pages, ledger, _ = golden.exported("secrets", target)
    assert not [page.path for page in pages if b"hunter2" in page.content]
    told = " ".join(remark.text for remark in ledger.remarks)
    for name in ("DB_PASSWORD", "DATABASE_URL", "API_TOKEN"):
        assert f"{name} " in told or f"{name}," in told
        if target in ("compose", "kubernetes"):
            assert any(name.encode() in page.content.partition(b"\n\n")[2] for page in pages)


# --- systemd -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden.NAMES)
def test_systemd_accepts_every_unit(name: str, tmp_path: Path):
    analyze = tool("systemd-analyze")
    folder = written(name, "systemd", tmp_path)
    for manager in ("system", "user"):
        paths = [str(path) for path in sorted((folder / manager).iterdir())]
        done = run(
            analyze,
            f"--{manager}",
            "--man=no",
            "verify",
            *paths,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        assert (done.returncode, done.stderr) == (0, ""), paths


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that another user may enter, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="devtasks-test-"))
    yield made
    shutil.rmtree(made)


def test_systemd_reads_the_words_that_were_written(folder: Path):
    """Its own parser prints what it has understood, `$` still doubled. It refuses to do so for root."""
    manager = next(
        (path for path in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if Path(path).exists()), None
    )
    if manager is None:
        pytest.skip("no systemd here")
    written("hostile", "systemd", folder)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    [unit] = [path.name for path in (folder / "user").glob("*.service")]
    environ = {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), "SYSTEMD_UNIT_PATH": f"{folder}/user:"}
    as_nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    done = run(manager, "--user", "--test", f"--unit={unit}", env=environ, **as_nobody)
    shown = (done.stdout + done.stderr).partition(f"Unit {unit}:")[2]
    if not shown:
        pytest.skip(f"systemd does not show what it reads: {done.stderr[-200:]}")
    [line] = re.findall(r"-> ExecStart:\n\s*Command Line: (.*)", shown)[:1]
    [service] = golden.project("hostile", "systemd").services
    assert [word.replace("$$", "$") for word in unescaped(line)] == ["/usr/bin/env", "J.K=dot", *service.command]
    environment = dict(one.split("=", 1) for one in re.findall(r"\tEnvironment: (.*)", shown))
    assert environment["D"] == service.env["D"]
    assert environment["H"] == service.env["H"]


def unescaped(line: str) -> list[str]:
    """Words as systemd prints a command line: shell words, C escapes within double quotes."""
    words = []
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line):
        names = {"n": "\n", "t": "\t"}
        words.append(plain or re.sub(r"\\(.)", lambda match, names=names: names.get(match[1], match[1]), quoted))
    return words


@given(
    backoff=st.floats(0, 100),
    maximum=st.integers(1, 50),
    window=st.floats(0.1, 1000),
)
@settings(deadline=None, max_examples=50)
def test_the_limit_of_starts_can_be_reached(backoff: float, maximum: int, window: float):
    """A service that dies at once is started for the last time within the interval."""
    from devtasks.export import systemd
    from devtasks.export.plan import Ledger
    from devtasks.model import RestartPolicy

    policy = RestartPolicy(max=maximum, window_seconds=window, backoff_seconds=backoff, max_backoff_seconds=1000)
    service = replace(PLAIN, restart=policy)
    interval, burst = (float(line.partition("=")[2]) for line in systemd._start_limit(Ledger(), service))
    assert burst == maximum + 1
    assert interval >= window - 0.001
    assert burst * backoff < interval


# --- containers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", golden.NAMES)
def test_compose_files_are_valid(name: str, tmp_path: Path):
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("check_jsonschema")
    files = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(files.read_text())
    for document in documents(name, "compose"):
        jsonschema.validators.validator_for(schema)(schema).validate(document)
    folder = written(name, "compose", tmp_path)
    docker = shutil.which("docker", path=HERE)
    if docker and run(docker, "compose", "version").returncode == 0:
        done = run(docker, "compose", "-f", str(folder / "compose.yaml"), "config", "--quiet")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", golden.NAMES)
def test_a_stack_takes_its_file(name: str, tmp_path: Path):
    docker = tool("docker")
    if run(docker, "stack", "config", "--help").returncode != 0:
        pytest.skip("this docker knows no stacks")
    folder = written(name, "compose", tmp_path)
    done = run(docker, "stack", "config", "-c", str(folder / "stack.yaml"))
    assert done.returncode == 0, done.stderr
    said = yaml.safe_load(done.stdout)["services"]
    for service, node in documents(name, "compose")[1]["services"].items():
        assert said[service]["command"] == [word.replace("$$", "$") for word in node["command"]]
        environment = node.get("environment", {})
        given = {key: value.replace("$$", "$") for key, value in environment.items() if value is not None}
        assert given.items() <= said[service].get("environment", {}).items()


@pytest.mark.parametrize("name", golden.NAMES)
def test_kubernetes_files_are_valid(name: str):
    validate = pytest.importorskip("kubernetes_validate").validate
    found = documents(name, "kubernetes")
    for document in found:
        validate(document, "1.30", strict=True)
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", document["metadata"]["name"])
    assert {one["kind"] for one in found} >= {"Deployment"}


@pytest.mark.parametrize("name", golden.NAMES)
def test_the_dockerfile_is_good(name: str, tmp_path: Path):
    hadolint = tool("hadolint")
    folder = written(name, "dockerfile", tmp_path)
    done = run(hadolint, str(folder / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", golden.NAMES)
def test_launchd_gets_the_same_words(name: str):
    pages, _, _ = golden.exported(name, "launchd")
    services = {
        f"{service.name.replace('.', '-')}": service for service in golden.project(name, "launchd").services
    }
    for page in pages:
        agent = plistlib.loads(page.content)
        service = services[agent["Label"].rpartition(".")[2]]
        words = agent["ProgramArguments"]
        assert tuple(words[-len(service.command) :]) == service.command
        assert Path(agent["WorkingDirectory"]) == service.cwd


# --- what is run ---------------------------------------------------------------------------------------


def test_what_comes_before_does_and_its_failure_is_the_end(tmp_path: Path):
    show = ("printf", "%s|", "a b", "$HOME", "'")
    assert run(*wrapped(show, [("echo", "one  two"), ("echo", "$x")])).stdout == "one  two\n$x\na b|$HOME|'|"
    done = run(*wrapped(show, [("false",), ("echo", "two")]))
    assert (done.returncode, done.stdout) == (1, "")
    assert wrapped(show, ()) == show


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=8), min_size=1
    )
)
@settings(deadline=None, max_examples=15)
def test_a_procfile_line_is_what_sh_runs(words: list[str]):
    from devtasks.export import procfile

    line = procfile._joined(("printf", "%s\n", *words))
    assert shlex.split(line) == ["printf", "%s\n", *words]
    assert run("sh", "-c", line).stdout == "".join(f"{word}\n" for word in words)


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = {"/good": (200, b"all is well"), "/moved": (302, b""), "/bad": (500, b"")}[self.path]
        self.send_response(code)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("language", ["python", "node", "none"])
def test_a_probe_asks_what_it_says(language: Any):
    tool({"python": "python3", "node": "node", "none": "curl"}[language])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    Thread(target=server.serve_forever, daemon=True).start()
    service = replace(PLAIN, host="0.0.0.0", ports=(server.server_port,))

    def holds(**probe: Any) -> bool:
        asked = question(service, HealthProbe(**probe), language, wait=5, inside=True)
        assert asked is not None
        return run(*asked.argv).returncode == 0

    try:
        assert holds(http="/good")
        assert holds(http="/moved")
        assert not holds(http="/bad")
        assert holds(tcp=True)
        if language != "none":
            assert holds(http="/bad", status=(500, 503))
            assert not holds(http="/good", status=(500,))
            assert holds(http="/good", body="is w.ll")
            assert not holds(http="/good", body="is ill")
    finally:
        server.shutdown()
        server.server_close()
    assert not holds(tcp=True)
    assert not holds(http="/good")


# --- YAML and names ------------------------------------------------------------------------------------

_ODD = [
    "no",
    "Yes",
    "~",
    "null",
    "1e3",
    "0x1f",
    "1_000",
    "12:30",
    ".inf",
    "2001-01-01",
    "=",
    "<<",
    "-",
    "#",
    "a:b",
]
_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from([*_ODD, "a: b", "- a", " x ", ""])
_NODE = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_TEXT, _NODE, max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_yaml_means_what_was_meant(value: dict[str, Any]):
    assert (yaml.safe_load(emitter.document(value)) or {}) == value


@given(st.text(max_size=120), st.sampled_from([20, 40, 52]))
def test_a_slug_is_a_name_everywhere(text: str, longest: int):
    made = slug(text, longest=longest)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", made)
    assert len(made) <= longest
