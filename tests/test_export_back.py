"""An export that is read back gives the same services."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

import golden
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_export import _NODE, _TEXT

from devtasks.config.parsing import parse
from devtasks.export import yaml as emitter
from devtasks.export.images import question, recognised
from devtasks.inferring import infer
from devtasks.inferring import yaml as reader
from devtasks.model import HealthProbe, Project, Service
from devtasks.values import replace

SECRETS = {"DB_PASSWORD", "DATABASE_URL", "API_TOKEN"}


def back(name: str, target: str, folder: Path) -> Project:
    """The project that is inferred from nothing but the export."""
    pages, _, _ = golden.exported(name, target)
    for page in pages:
        (folder / page.path).write_bytes(page.content)
    declared = golden.project(name, "systemd")
    for service in declared.services:  # a Procfile says `cd`, which is understood where the folder exists
        if service.cwd.is_relative_to(golden.ROOT):
            (folder / service.cwd.relative_to(golden.ROOT)).mkdir(parents=True, exist_ok=True)
    if target == "procfile" and name == "secrets":
        (folder / ".env").write_text("A=b\n")
    inference = infer(folder)
    assert "left out" not in " ".join(inference.notes)
    return parse(inference.table, root=folder, source=inference.source, project_name=None, environ={})


def facts(service: Service, root: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """What is compared: paths from the root on, and no secrets."""
    found: dict[str, Any] = {}
    for key in keys:
        value: Any = getattr(service, key)
        if key in ("cwd", "env_file") and value is not None:
            value = value.relative_to(root).as_posix()
        if key == "data":
            value = tuple(path.relative_to(root) for path in value if path.is_relative_to(root))
        if key == "env":
            value = {name: text for name, text in value.items() if name not in SECRETS and name != "PORT"}
        if key == "stop":
            value = (value.signals[0], value.timeout_seconds)
        if key == "restart":
            value = (value.policy, None if value.policy != "on-failure" else value.max)
            value = ("never", None) if value[1] == 0 else value
        if key == "health" and value is not None:
            # The start period is readiness's, too, and does not come back; nor does what no container can be asked
            value = None if value.log else replace(value, start_period_seconds=0.0)
        if key == "health" and value is not None and value.http:
            value = replace(value, http=value.http.removeprefix(f"http://127.0.0.1:{service.port}"))
            value = replace(value, http=value.http.removeprefix(f"http://0.0.0.0:{service.port}"))
        found[key] = value
    return found


PROCFILE = ("command", "shell", "cwd", "env")
COMPOSE = (
    *("command", "shell", "cwd", "env", "env_file", "before", "host", "ports", "depends_on", "stop", "restart"),
    *("log_max_bytes", "limits", "data", "stdin", "health"),
)


@pytest.mark.parametrize("name", golden.NAMES)
def test_compose_gives_the_same_services(name: str, tmp_path: Path):
    again = {service.name: service for service in back(name, "compose", tmp_path).services}
    declared = golden.project(name, "systemd").services
    if name == "instances":  # those that differ are services of their own
        assert set(again) == {"worker.1", "worker.2", "worker.3", "web-1", "web-2"}
    else:
        assert set(again) == {service.name for service in declared}
    for service in declared:
        other = again.get(service.name) or again[service.name.replace(".", "-")]
        assert facts(other, tmp_path, COMPOSE) == facts(service, golden.ROOT, COMPOSE)


@pytest.mark.parametrize("name", sorted(set(golden.NAMES) - {"hostile"}))
def test_a_procfile_gives_the_same_services(name: str, tmp_path: Path):
    again = {service.name: service for service in back(name, "procfile", tmp_path).services}
    declared = golden.project(name, "systemd").services
    assert set(again) == {service.name.replace(".", "-") for service in declared}
    for service in declared:
        other = again[service.name.replace(".", "-")]
        if service.shell or service.before:  # both are one line for sh
            assert other.shell
            assert other.command[0].endswith(service.command[0] if service.shell else " ".join(service.command))
        else:
            assert facts(other, tmp_path, PROCFILE) == facts(service, golden.ROOT, PROCFILE)
        assert set(other.ports) <= set(service.ports) or name == "smallest"  # it says none, and its command does


def test_somebody_elses_compose_file_is_not_read(tmp_path: Path):
    (tmp_path / "compose.yaml").write_text("services:\n  web:\n    command: [sleep, '1']\n")
    assert infer(tmp_path).table == {}


@pytest.mark.parametrize(
    "text",
    [
        "services:\n  web\n", "services:\n\tweb: x\n", "services:\n- web\n", "a: [b\n", "a: {b: c\n", 'a: "\\q"\n',
        "a: &x y\n", "a: b\na: c\n", "a:\n", " a: b\n", "a: b: c\n", "a: |\n  x\n", 'a: "\\U00110000"\n',
        "a: " + "[" * 5000 + "\n", "services: x\n",
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_and_not_used(text: str, tmp_path: Path):
    head = golden.exported("smallest", "compose")[0][0].content.decode().partition("\n")[0]
    (tmp_path / "compose.yaml").write_text(f"{head}\n{text}")
    found = infer(tmp_path)
    assert found.table == {}
    assert "compose.yaml" in found.notes[0]


@given(st.dictionaries(_TEXT, _NODE, max_size=5))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_what_is_emitted_is_read_or_refused(value: dict[str, Any]):
    """Lists of mappings, and numbers that no export has, are what the reader leaves out."""
    text = emitter.document(value)
    try:
        assert reader.parse(text) == (yaml.safe_load(text) or {})
    except reader.NotRead:
        long = re.search("[0-9]{19}", text)
        assert "  - " in text or any(not key[:1].isascii() for key in value) or "-" in text or long


@given(st.text())
def test_nothing_else_is_raised(text: str):
    with contextlib.suppress(reader.NotRead):
        reader.parse(text)


@pytest.mark.parametrize("language", ["python", "node", "none"])
@pytest.mark.parametrize(
    "probe",
    [
        {"tcp": True}, {"http": "/health"}, {"http": "/a?b=c", "status": (200, 204), "body": "x y"},
        {"http": "https://example.org/x", "status": (200,)}, {"command": ("a", "b c")},
    ],
)  # fmt: skip
def test_a_probe_is_recognised(language: Any, probe: dict[str, Any]):
    service = Service(
        name="a", group="a", command=("x",), cwd=Path("/"), pid_file=Path("/p"), log_file=Path("/l"), ports=(80,)
    )
    asked = question(service, HealthProbe(**probe), language, wait=2, inside=True)
    assert asked is not None
    lost = {"status", "body"} if language == "none" else set()
    expected = {key: list(one) if isinstance(one, tuple) else one for key, one in probe.items() if key not in lost}
    assert recognised(list(asked.argv)) == expected


def test_init_writes_down_what_was_exported(tmp_path: Path):
    from devtasks.inferring import init

    back("everything", "compose", tmp_path)
    text = init.propose(tmp_path)
    shutil.rmtree(tmp_path / "backend")
    assert "inferred from compose.yaml" in text.lower()
    assert 'depends_on = ["db"]' in text
    assert init.write(tmp_path, environ={}).name == "devtasks.toml"
