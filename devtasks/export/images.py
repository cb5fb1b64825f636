"""What a service's image is built from, and the commands that its probes become."""

from __future__ import annotations

import re
from typing import Any, Literal

from devtasks.inferring.tree import Tree, joined
from devtasks.model import HealthProbe, ReadyProbe, Service
from devtasks.values import Value

Language = Literal["python", "node", "none"]

PYTHON, NODE = "3.13", "22"
_NODE_PROGRAMS = {
    "node",
    "npm",
    "npx",
    "pnpm",
    "yarn",
    "bun",
    "tsx",
    "vite",
    "next",
    "nodemon",
    "ts-node",
    "esbuild",
}
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - where the service binds


class Build(Value):
    """How the dependencies of a service get into its image.

    `folder` holds the files that name them, relative to the root ("" is the root itself). `tool`: requirements,
    uv, pyproject (a package without a lock), npm, pnpm, yarn; "none" where there is nothing to install.
    """

    language: Language = "none"
    folder: str = ""
    tool: str = "none"
    version: str = ""
    locked: bool = False
    package: bool = False  # a Python project that is itself to be installed

    @property
    def stage(self) -> str:
        """The name of the stage that installs them."""
        place = re.sub(r"[^a-z0-9]+", "-", self.folder.lower()).strip("-") or "root"
        return f"{self.language}-{place}-dependencies"


def look(tree: Tree, service: Service, folder: str) -> Build:
    """Find out from the files in `folder` (the service's, relative to the root), then in the root."""
    program = _program(service)
    python = bool(re.fullmatch(r"python[\d.]*|pip\d?|uv|manage\.py", program))
    node = program in _NODE_PROGRAMS
    for place in dict.fromkeys((folder, "")):
        if not node and (tool := _python_tool(tree, place)):
            text = tree.text(joined(place, "pyproject.toml")) or ""
            return Build(
                language="python",
                folder=place,
                tool=tool,
                version=_version(tree, place, (".python-version",), r"3\.\d+", PYTHON),
                package=tool != "requirements" and "[build-system]" in text,
            )
        if not python and tree.has_file(joined(place, "package.json")):
            locks = {"pnpm": "pnpm-lock.yaml", "yarn": "yarn.lock", "npm": "package-lock.json"}
            tool = next((name for name, lock in locks.items() if tree.has_file(joined(place, lock))), None)
            version = _version(tree, place, (".nvmrc", ".node-version"), r"\d+", NODE)
            return Build(
                language="node", folder=place, tool=tool or "npm", version=version, locked=tool is not None
            )
    if python:
        return Build(language="python", version=_version(tree, folder, (".python-version",), r"3\.\d+", PYTHON))
    if node:
        return Build(language="node", version=NODE)
    return Build()


def _python_tool(tree: Tree, folder: str) -> str | None:
    if tree.has_file(joined(folder, "uv.lock")):
        return "uv"
    if tree.has_file(joined(folder, "requirements.txt")):
        return "requirements"
    text = tree.text(joined(folder, "pyproject.toml")) or ""
    return "pyproject" if re.search(r"(?m)^\[project\]", text) else None


def _version(tree: Tree, folder: str, files: tuple[str, ...], pattern: str, default: str) -> str:
    for path in (joined(place, file) for place in dict.fromkeys((folder, "")) for file in files):
        if found := re.match(rf"\s*v?({pattern})\b", tree.text(path) or ""):
            return found[1]
    return default


def _program(service: Service) -> str:
    words = service.command[0].split() if service.shell else service.command
    return (words[0] if words else "").rpartition("/")[2]


# --- probes --------------------------------------------------------------------------------------------

_PYTHON_HTTP = """\
import re, sys, urllib.error, urllib.request
url, wait, statuses, body = sys.argv[1:]
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_): return None
try: answer = urllib.request.build_opener(Stay).open(url, timeout=float(wait))
except urllib.error.HTTPError as error: answer = error
good = str(answer.status) in statuses.split() if statuses else 200 <= answer.status < 400
sys.exit(not (good and re.search(body, answer.read(1048576).decode(errors="replace"))))
"""
_PYTHON_HTTP_PLAIN = (
    "import http.client, sys; "
    "asked = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=float(sys.argv[3])); "
    'asked.request("GET", sys.argv[4]); sys.exit(not 200 <= asked.getresponse().status < 400)'
)
_NODE_HTTP = """\
const [url, wait, statuses, body] = process.argv.slice(1);
fetch(url, {redirect: "manual", signal: AbortSignal.timeout(wait * 1000)}).then(async answer => {
  const {status} = answer;
  const good = statuses ? statuses.split(" ").includes(String(status)) : status >= 200 && status < 400;
  process.exit(good && new RegExp(body).test(await answer.text()) ? 0 : 1);
}, () => process.exit(1));
"""
_PYTHON_TCP = (
    "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))"
)
_BASH_TCP = ': <"/dev/tcp/$0/$1"'
_NODE_TCP = """\
const [host, port, wait] = process.argv.slice(1);
const socket = require("net").connect(port, host, () => process.exit(0));
socket.on("error", () => process.exit(1)).setTimeout(wait * 1000, () => process.exit(1));
"""


class Question(Value):
    """A probe as a command that exits with 0 for a yes. `loss`: what of the probe it does not ask."""

    argv: tuple[str, ...]
    loss: str | None = None


def address(service: Service, *, inside: bool) -> str:
    """Where the service answers: `inside` its own container, or on this machine."""
    return _ANY_ADDRESS.get(service.host, service.host) if not inside or ":" in service.host else "127.0.0.1"


def url(service: Service, target: str, *, inside: bool) -> str:
    """The URL that a probe's `http` stands for."""
    if not target.startswith("/"):
        return target.replace("://0.0.0.0", "://127.0.0.1", 1) if inside else target
    host = address(service, inside=inside)
    return f"http://{f'[{host}]' if ':' in host else host}:{service.port}{target}"


def question(
    service: Service, probe: ReadyProbe | HealthProbe, language: Language, *, wait: float, inside: bool
) -> Question | None:
    """The command that asks `probe`; None where there is no such command: a log, or nothing to ask."""
    if probe.command is not None:
        return Question(argv=probe.command)
    if probe.log is not None:
        return None
    seconds = f"{wait:g}"
    if probe.http is not None:
        where = url(service, probe.http, inside=inside)
        arguments = (where, seconds, " ".join(map(str, probe.status)), probe.body or "")
        match language:
            case "python" if probe.http.startswith("/") and not (probe.status or probe.body):
                host = address(service, inside=inside)
                arguments = (host, str(service.port), seconds, probe.http)
                return Question(argv=("python3", "-c", _PYTHON_HTTP_PLAIN, *arguments))
            case "python":
                return Question(argv=("python3", "-c", _PYTHON_HTTP, *arguments))
            case "node":
                loss = "body is a JavaScript expression there" if probe.body else None
                return Question(argv=("node", "-e", _NODE_HTTP, *arguments), loss=loss)
        loss = "status and body are not looked at" if probe.status or probe.body else None
        return Question(argv=("curl", "-fsS", "-m", seconds, "-o", "/dev/null", where), loss=loss)
    if service.port is None:
        return None
    host, port = address(service, inside=inside), str(service.port)
    match language:
        case "python":
            return Question(argv=("python3", "-c", _PYTHON_TCP, host, port, seconds))
        case "node":
            return Question(argv=("node", "-e", _NODE_TCP, host, port, seconds))
    return Question(argv=("timeout", seconds, "bash", "-c", _BASH_TCP, host, port))


def recognised(argv: list[str]) -> dict[str, Any] | None:
    """The keys of a probe of which `question` made `argv`: the way back."""
    match argv:
        case ["python3", "-c", code, _, _, _] if code == _PYTHON_TCP:
            return {"tcp": True}
        case ["node", "-e", code, _, _, _] if code == _NODE_TCP:
            return {"tcp": True}
        case ["timeout", _, "bash", "-c", code, _, _] if code == _BASH_TCP:
            return {"tcp": True}
        case ["python3", "-c", code, _, _, _, path] if code == _PYTHON_HTTP_PLAIN:
            return {"http": path}
        case ["python3", "-c", code, where, _, statuses, body] if code == _PYTHON_HTTP:
            return _http(where, statuses, body)
        case ["node", "-e", code, where, _, statuses, body] if code == _NODE_HTTP:
            return _http(where, statuses, body)
        case ["curl", "-fsS", "-m", _, "-o", "/dev/null", where]:
            return _http(where, "", "")
    return {"command": argv} if argv else None


def _http(where: str, statuses: str, body: str) -> dict[str, Any]:
    target = re.sub(r"^http://(127\.0\.0\.1|\[::1\]):\d+(?=/)", "", where)
    found: dict[str, Any] = {"http": target}
    if statuses:
        found["status"] = [int(one) for one in statuses.split() if one.isdigit()]
    if body:
        found["body"] = body
    return found
