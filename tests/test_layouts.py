"""Ten and more real project layouts: what is inferred for each of them really starts, and answers."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from toolbox import PYTHON, end, eventually, free_port, is_free, marked

from devtasks.config import envfile
from devtasks.config import parsing as config
from devtasks.inferring import infer
from devtasks.model import Project, Service

LAYOUTS = Path(__file__).parent / "layouts"


@dataclass(frozen=True)
class Layout:
    answers: dict[str, str]  # service to a text that only it answers; "" for one without a port
    ports: tuple[int, ...] = ()  # written in its files, and moved to free ones before it is looked at
    needs: tuple[str, ...] = ()  # programs
    files: dict[str, str] = field(default_factory=dict)  # a file that a service without a port makes


EXPECTED = {
    "django": Layout({"backend": "layout django"}),
    "fastapi-package": Layout({"backend": "fastapi-package"}),
    "fastapi-single-file": Layout({"backend": "fastapi-single-file"}),
    "flask-package": Layout({"backend": "layout flask-package"}, ports=(5050,)),
    "monorepo-vite": Layout(
        {"backend": "monorepo-vite backend", "frontend": "monorepo-vite frontend"},
        ports=(8080, 5174),
        needs=("node", "npm"),
    ),
    "node-server": Layout({"backend": "layout node-server"}, needs=("node", "npm")),
    "pnpm-workspace": Layout(
        {"backend": "pnpm-workspace api", "frontend": "pnpm-workspace web"},
        ports=(4100, 4321),
        needs=("node", "pnpm"),
    ),
    "procfile-dev": Layout(
        {"api": "procfile-dev api", "site-1": "procfile-dev site", "worker": ""},
        ports=(7411,),
        files={"worker": "worker.started"},
    ),
    "procfile-env": Layout({"web": "procfile-env web", "admin": "procfile-env admin"}),
    "script-with-port": Layout({"backend": "layout script-with-port"}, ports=(9200,)),
    "src-layout": Layout({"backend": "src-layout"}),
    "starlette-factory": Layout({"backend": "layout starlette-factory"}),
}


@dataclass
class Home:
    """A copy of a layout, and the processes started in it."""

    root: Path
    variable: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def project(self) -> Project:
        """What is inferred, with free ports in place of those that the commands let us choose."""
        inference = infer(self.root)
        services = inference.table["services"]
        for keys in services.values():
            if "{port}" in f"{keys['command']} {keys.get('env')}":
                keys["port"] = free_port()
        return config.parse(
            inference.table, root=self.root, source=inference.source, project_name=None, environ={}
        )

    def start(self, service: Service) -> None:
        name, _, value = self.variable.partition("=")
        env = {**os.environ, name: value}
        env["SPT_NOENV"] = "1"  # gunicorn would erase the variable by which its processes are found
        env["PATH"] = f"{Path(PYTHON).parent}{os.pathsep}{env['PATH']}"
        env |= envfile.read(service.env_file) if service.env_file else {}
        env |= service.env
        command = ["sh", "-c", *service.command] if service.shell else service.command
        with self.log(service).open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=service.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)

    def log(self, service: Service) -> Path:
        return self.root.parent / f"{service.name}.log"

    def close(self) -> None:
        end(functools.partial(marked, self.variable))
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)


def move_ports(root: Path, ports: tuple[int, ...]) -> None:
    moved = {str(port): str(free_port()) for port in ports}
    for file in root.rglob("*"):
        if file.is_file():
            text = file.read_text()
            for port, free in moved.items():
                text = text.replace(port, free)
            file.write_text(text)


def install_vite(root: Path) -> None:
    """What `npm install` would leave behind."""
    for package in (file.parent for file in root.rglob("vite.config.ts")):
        programs = package / "node_modules" / ".bin"
        programs.mkdir(parents=True)
        shutil.copy(LAYOUTS / "vite.mjs", programs / "vite")


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    name = request.param
    layout = EXPECTED[name]
    missing = [program for program in layout.needs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    root = tmp_path / name
    shutil.copytree(LAYOUTS / name, root, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    move_ports(root, layout.ports)
    install_vite(root)
    home = Home(root, f"LAYOUT_RUN={uuid.uuid4().hex}")
    try:
        yield home
    finally:
        home.close()


def answer(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/", timeout=5) as response:
            return str(response.read().decode())
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        return ""


def test_every_layout_is_expected() -> None:
    assert {folder.name for folder in LAYOUTS.iterdir() if folder.is_dir()} == set(EXPECTED)
    assert len(EXPECTED) >= 10


@pytest.mark.parametrize(("home", "name"), [(name, name) for name in EXPECTED], indirect=["home"])
def test_what_is_inferred_really_starts(home: Home, name: str) -> None:
    project = home.project()
    layout = EXPECTED[name]
    assert {service.name for service in project.services} == set(layout.answers)
    for service in project.services:
        home.start(service)
    for service, process in zip(project.services, home.started, strict=True):
        wanted = layout.answers[service.name]

        def serves(service: Service = service, wanted: str = wanted) -> bool:
            if service.port is None:
                return (home.root / layout.files[service.name]).exists()
            return wanted in answer(service.port)

        def alive_and_serving(process: subprocess.Popen[bytes] = process, service: Service = service) -> bool:
            assert process.poll() is None, home.log(service).read_text()
            return serves(service)

        assert (service.port is None) == (wanted == "")
        eventually(alive_and_serving, f"{service.command}", seconds=60)
    home.close()
    # A killed process shows no environment any more while the kernel still closes its sockets.
    ports = [port for service in project.services for port in service.ports]
    eventually(lambda: all(map(is_free, ports)), f"{ports} free")
