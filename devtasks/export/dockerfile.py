"""Dockerfile: one file, a stage a service, and one for each set of dependencies, which is cached.

Commands are in JSON (exec) form. The builder expands ENV and WORKDIR, so `$` in them is escaped.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator

from devtasks.export import containers
from devtasks.export.containers import ROOT, USER
from devtasks.export.images import Build
from devtasks.export.plan import File, Ledger, Surroundings, Unit, number, slug, units, variables
from devtasks.model import Project, Service

TITLE = "a Dockerfile"
FOLDER = "."

_BASES = {"python": "python:{}-slim", "node": "node:{}-slim", "none": "debian:stable-slim"}
# The dependencies of a package, without the package.
_LISTING = (
    "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; "
    "print(*project.get('dependencies', []), sep='\\n')"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_IGNORED = (
    *(".git", ".gitignore", "Dockerfile*", ".dockerignore", "compose*.yaml", "stack.yaml", "**/.env", "**/.env.*"),
    *("**/.venv", "**/venv", "**/node_modules", "**/__pycache__", "**/*.pyc", "**/*.log"),
)


def export(project: Project, around: Surroundings, ledger: Ledger) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """The Dockerfile and what its context leaves out, and the commands that build and run."""
    made = units(project, merge=True)
    builds = [around.builds[unit.service.group] for unit in made]
    parts = [
        line for base in dict.fromkeys(_base(build) for build in builds) for line in _base_stage(base, builds)
    ]
    for build in dict.fromkeys(builds):
        parts += _dependencies(build)
    for unit, build in zip(made, builds, strict=True):
        parts += _stage(project, around, ledger, unit, build)
    containers.told(project, ledger)
    _not_an_images(project, ledger)
    ignored = [*_IGNORED, *_private(project)]
    same = around.output == project.root
    files = (
        File(path="Dockerfile", body="\n".join(parts).rstrip("\n") + "\n"),
        File(
            path=".dockerignore" if same else "Dockerfile.dockerignore",
            body="".join(f"{line}\n" for line in dict.fromkeys(ignored)),
            about=(),
        ),
    )
    return files, _commands(project, around, made)


def image(project: Project, unit_name: str) -> str:
    """The name under which the other targets expect a service's image."""
    return f"{slug(project.name)}-{unit_name}:latest"


def _base(build: Build) -> str:
    language = build.language if build.language != "none" else ""
    return "-".join(part for part in ("base", language, build.version.replace(".", "-")) if part)


def _base_stage(name: str, builds: list[Build]) -> list[str]:
    build = next(one for one in builds if _base(one) == name)
    packages = ["ca-certificates", "curl", "tini"] if build.language == "none" else ["tini"]
    return [
        f"FROM {_BASES[build.language].format(build.version)} AS {name}",
        "# hadolint ignore=DL3008",
        "RUN apt-get update \\",
        f" && apt-get install -y --no-install-recommends {' '.join(packages)} \\",
        " && rm -rf /var/lib/apt/lists/* \\",
        f" && useradd --uid {USER} --no-create-home --shell /usr/sbin/nologin app",
        *(["ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"] if build.language == "python" else []),
        *(["# hadolint ignore=DL3016", f"RUN npm install --global {build.tool}"] if build.tool == "pnpm" else []),
        'ENTRYPOINT ["/usr/bin/tini", "--"]',
        f"WORKDIR {ROOT}",
        "",
    ]


def _dependencies(build: Build) -> list[str]:
    """The stage that installs them, from the files that name them alone: what changes seldom is built seldom."""
    if build.tool == "none":
        return []
    place = ROOT / build.folder
    prefix = f"{build.folder}/" if build.folder else ""
    copied = {
        "uv": ["pyproject.toml", "uv.lock"],
        "requirements": ["requirements.txt"],
        "pyproject": ["pyproject.toml"],
        "npm": ["package.json", *(["package-lock.json"] if build.locked else [])],
        "pnpm": ["package.json", "pnpm-lock.yaml"],
        "yarn": ["package.json", "yarn.lock"],
    }[build.tool]
    installs = {
        "uv": "pip install --no-cache-dir uv"
        " && UV_PROJECT_ENVIRONMENT=/venv uv sync --frozen --no-dev --no-install-project",
        "requirements": "python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt",
        "pyproject": f'python -m venv /venv && python -c "{_LISTING}" > /tmp/dependencies.txt'
        " && /venv/bin/pip install --no-cache-dir -r /tmp/dependencies.txt",
        "npm": "npm ci" if build.locked else "npm install",
        "pnpm": "pnpm install --frozen-lockfile",
        "yarn": "yarn install --frozen-lockfile",
    }
    return [
        f"FROM {_base(build)} AS {build.stage}",
        f"WORKDIR {_path(str(place))}",
        f"COPY {json.dumps([*(prefix + name for name in copied), './'])}",
        *(["# hadolint ignore=DL3013"] if build.tool == "uv" else []),
        f"RUN {installs[build.tool]}",
        "",
    ]


def _stage(project: Project, around: Surroundings, ledger: Ledger, unit: Unit, build: Build) -> Iterator[str]:
    service = unit.service
    workdir = containers.folder(project, service)
    yield f"FROM {_base(build)} AS {unit.name}"
    if build.tool != "none":
        yield from _installed(build)
    else:
        yield f'COPY [".", "{ROOT}/"]'
    yield f"WORKDIR {_path(str(workdir))}"
    ledger.put(service, "cwd", "WORKDIR")
    folders = [path for _, path in containers.data(project, service, ledger)]
    for path in folders:
        yield f"RUN {json.dumps(['install', '-d', '-o', str(USER), '-g', str(USER), path])}"
        ledger.put(service, "data", "a folder that the user may write to")
    yield from _environment(service, ledger)
    yield f"USER {USER}"
    if service.ports:
        yield f"EXPOSE {' '.join(map(str, service.ports))}"
        ledger.put(service, "ports", "EXPOSE")
        ledger.put(service, "host", "0.0.0.0 inside the container")
    yield f"STOPSIGNAL SIG{service.stop.signals[0]}"
    ledger.put(service, "stop.signal", "STOPSIGNAL")
    if len(service.stop.signals) > 1:
        ledger.cannot(service, "stop.signal", f"only {service.stop.signals[0]} is sent")
    check = containers.check(service, around, ledger)
    if check is None:
        yield "HEALTHCHECK NONE"
    else:
        yield (
            f"HEALTHCHECK --interval={number(check.interval)}s --timeout={number(check.timeout)}s "
            f"--start-period={number(check.start_period)}s --retries={check.failures} CMD {_exec(check.argv)}"
        )
    yield f"CMD {_exec(containers.command(service, ledger))}"
    yield ""


def _installed(build: Build) -> Iterator[str]:
    place = ROOT / build.folder
    if build.language == "node":
        modules = str(place / "node_modules")
        yield f'COPY [".", "{ROOT}/"]'
        yield f"COPY --from={build.stage} {json.dumps([modules, modules])}"
        yield f'ENV PATH="{_variable(modules)}/.bin:$PATH"'
        return
    yield f"COPY --from={build.stage} /venv /venv"
    yield 'ENV PATH="/venv/bin:$PATH"'
    yield f'COPY [".", "{ROOT}/"]'
    if build.package:
        pip = ("python", "-m", "pip", "--python", "/venv/bin/python", "install", "--no-cache-dir", "--no-deps")
        yield f"RUN {json.dumps([*pip, str(place)])}"


def _environment(service: Service, ledger: Ledger) -> Iterator[str]:
    plain, secret = variables(service, ledger, "give it to the container: docker run --env NAME")
    odd = [name for name, value in plain.items() if not _NAME.fullmatch(name) or not _one_line(value)]
    if odd:
        ledger.cannot(service, "env", f"{', '.join(odd)}: ENV cannot hold it; give it to the container")
    for name, value in plain.items():
        if name not in odd:
            yield f'ENV {name}="{_variable(value)}"'
    if len(plain) > len(odd) or (service.env and not odd and not secret):
        ledger.put(service, "env", "ENV")
    if service.env_file is not None:
        ledger.cannot(
            service, "env_file", "not in the image: give it to the container, docker run --env-file FILE"
        )


def _not_an_images(project: Project, ledger: Ledger) -> None:
    """What is said when a container is made, not when its image is."""
    for service in project.services:
        if service.depends_on:
            ledger.cannot(service, "depends_on", "an image knows no other; compose does")
        if service.stop.timeout_seconds != 5 or not service.stop.kill:
            ledger.cannot(service, "stop.timeout", "an image cannot say it: docker run --stop-timeout SECONDS")
            ledger.cannot(service, "stop.kill", "a container is killed when its time is over")
        ledger.cannot(
            service, "restart.policy", f"an image cannot say it ({service.restart.policy}): docker run --restart"
        )
        for key in ("max", "window", "backoff", "max_backoff", "cooldown"):
            ledger.put(service, f"restart.{key}", "see restart.policy")
        for key in ("nofile", "nproc", "memory", "cpu"):
            ledger.put(service, f"limits.{key}", "none: see limits")
        if service.limits != type(service.limits)():
            ledger.cannot(service, "limits", "an image cannot say them: docker run --ulimit, --memory, --cpus")
        ledger.put(service, "stdin", "docker run --interactive keeps it open")
        if service.log_max_bytes is not None:
            ledger.cannot(service, "log_max_bytes", "the engine's log: docker run --log-opt max-size=SIZE")


def _private(project: Project) -> Iterator[str]:
    """What an image must not hold: the state, files of variables, data."""
    paths = [project.state_dir, *(path for one in project.services for path in (one.env_file, *one.data) if path)]
    for path in paths:
        if path.is_relative_to(project.root) and path != project.root:
            relative = path.relative_to(project.root).as_posix()
            if not re.search(r"[\n\r#!*?\[\]\\]|^\s|\s$", relative):  # .dockerignore has no quoting
                yield relative


def _commands(project: Project, around: Surroundings, made: tuple[Unit, ...]) -> tuple[str, ...]:
    import shlex

    file = os.path.relpath(around.output / "Dockerfile", project.root)
    lines = []
    for unit in made:
        name = image(project, unit.name)
        lines.append(f"docker build --file {shlex.quote(file)} --target {unit.name} --tag {name} .")
    first = made[0]
    ports = "".join(f"-p {port}:{port} " for port in first.service.ports)
    return (*lines, f"docker run --rm {ports}{image(project, first.name)}")


def _exec(words: Iterable[str]) -> str:
    """Words in JSON form. A backslash stands as its number: hadolint takes one before a quote for an escape."""
    return json.dumps(list(words)).replace("\\\\", "\\u005c")


def _one_line(text: str) -> bool:
    return all(character.isprintable() or character == "\t" for character in text)


def _variable(text: str) -> str:
    """Text between double quotes where the builder expands variables."""
    return re.sub(r'([\\"$])', r"\\\1", text)


def _path(path: str) -> str:
    """A path for WORKDIR, which is expanded and takes the rest of the line."""
    return path.replace("\\", "\\\\").replace("$", "\\$")
