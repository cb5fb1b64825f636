"""A compose.yaml that `export` wrote, read back. Any other is not looked at: what it runs are images."""

from __future__ import annotations

import re
import shlex
from typing import Any

from devtasks.config.readers import SERVICE_NAME, VARIABLE
from devtasks.inferring.tree import Found, Tree, port_number
from devtasks.inferring.yaml import NotRead, parse

FILE = "compose.yaml"
_OURS = "# Written by devtasks export (compose) for "
_ROOT = "/app"  # where the project is in every image
_AFTER = ' && exec "$0" "$@"'
_SHELL = ["/bin/sh", "-c"]
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - what `{host}` became in the container
# What `export` asks where only readiness was declared.
_READY = {"interval": 5.0, "timeout": 2.0, "retries": 3}

Node = dict[str, Any]


def find(tree: Tree) -> tuple[Found, ...] | None:
    """The services of the file; None where there is none of ours."""
    text = tree.text(FILE)
    if text is None or not text.startswith(_OURS):
        return None
    try:
        services = parse(text).get("services")
    except NotRead as problem:
        tree.note(f"{FILE} {problem}; not used")
        return None
    if not isinstance(services, dict):
        tree.note(f"{FILE}: has no services; not used")
        return None
    found = []
    for name, node in services.items():
        keys = _keys(node) if isinstance(node, dict) and re.search(SERVICE_NAME, name) else None
        if keys is None:
            tree.note(f"{FILE}: {name} is not a service as export writes it; left out")
        else:
            found.append(Found(name, keys, FILE, f"service {name}"))
    return tuple(found)


def _keys(node: Node) -> dict[str, Any] | None:
    """The service's keys; None where its command is none of export's."""
    words = _texts(node.get("command"))
    if not words:
        return None
    host, ports = _published(_texts(node.get("ports")))
    keys: dict[str, Any] = {}
    before: list[list[str]] = []
    if words[:2] == _SHELL and len(words) > 3 and words[2].endswith(_AFTER):
        before = _steps(words[2].removesuffix(_AFTER))
        words = words[3:]
    shell = words[:2] == _SHELL and len(words) == 3
    told = [_as_told(word, host) for word in words]
    keys["command"] = told[2] if shell else told
    if shell:
        keys["shell"] = True
    if cwd := _inside(str(node.get("working_dir", ""))):
        keys["cwd"] = cwd
    if env := _environment(node.get("environment"), host):
        keys["env"] = env
    if files := _texts(node.get("env_file")):
        keys["env_file"] = files[0].removeprefix("./")
    if before:
        keys["before"] = [[_as_told(word, host) for word in step] for step in before]
    if host not in ("127.0.0.1", ""):
        keys["host"] = host
    if ports:
        keys |= {"port": ports[0]} if len(ports) == 1 else {"ports": ports}
    if not node.get("stdin_open"):
        keys["stdin"] = "null"
    if isinstance(node.get("depends_on"), dict):
        keys["depends_on"] = list(node["depends_on"])
    keys |= _probe(node.get("healthcheck"), host, bool(ports))
    keys |= _stop(node) | _restart(str(node.get("restart", ""))) | _limits(node) | _rest(node)
    return keys


def _texts(value: Any) -> list[str]:
    """A list of text, `$` no longer doubled; empty for anything else."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return []
    return [one.replace("$$", "$") for one in value]


def _steps(line: str) -> list[list[str]]:
    steps: list[list[str]] = [[]]
    for word in shlex.split(line):
        if word == "&&":
            steps.append([])
        else:
            steps[-1].append(word)
    return [step for step in steps if step]


def _published(ports: list[str]) -> tuple[str, list[int]]:
    """Address and numbers of `ADDRESS:PORT:PORT`; no address stands for every one."""
    host, numbers = "", []
    for port in ports:
        address, _, inside = port.rpartition(":")
        outer, _, _ = address.rpartition(":")
        number = port_number(inside)
        if number is not None:
            numbers.append(number)
            host = outer.strip("[]") or _EVERYWHERE
    return host, numbers


def _as_told(word: str, host: str) -> str:
    """A word with `{host}` where the container's every address was written for it."""
    return word.replace(_EVERYWHERE, "{host}") if host not in ("", _EVERYWHERE) else word


def _inside(path: str) -> str:
    path = path.replace("$$", "$")
    return path.removeprefix(f"{_ROOT}/") if path.startswith(f"{_ROOT}/") else ""


def _environment(value: Any, host: str) -> dict[str, str]:
    """Without those that hold no value here: they were secrets."""
    if not isinstance(value, dict):
        return {}
    return {
        name: _as_told(text.replace("$$", "$"), host)
        for name, text in value.items()
        if isinstance(text, str) and re.search(VARIABLE, name)
    }


def _probe(node: Any, host: str, has_port: bool) -> dict[str, Any]:
    """`health`, or `ready` where that was all there was; none where it asks what is asked anyway."""
    if not isinstance(node, dict):
        return {}
    from devtasks.export.images import recognised

    words = _texts(node.get("test"))
    asked = recognised(words[1:]) if words[:1] == ["CMD"] else None
    if asked is None:
        return {}
    if "command" in asked:
        asked["command"] = [_as_told(word, host) for word in asked["command"]]
    seconds = {key: _seconds(node.get(key)) for key in ("interval", "timeout", "start_period")}
    if {**seconds, "retries": node.get("retries")}.items() >= _READY.items():
        limit = seconds["start_period"]
        plain = "tcp" in asked and has_port
        return {} if plain and limit == 30 else {"ready": ({} if plain else asked) | {"timeout": limit}}
    timing = {"interval": seconds["interval"], "timeout": seconds["timeout"], "failures": node.get("retries", 3)}
    return {"health": {**asked, **timing}}


def _stop(node: Node) -> dict[str, Any]:
    stop: dict[str, Any] = {}
    name = str(node.get("stop_signal", "SIGTERM")).removeprefix("SIG")
    if name != "TERM":
        stop["signal"] = name
    seconds = _seconds(node.get("stop_grace_period"))
    if seconds != 5:
        stop["timeout"] = seconds
    return {"stop": stop} if stop else {}


def _restart(word: str) -> dict[str, Any]:
    policy, _, most = word.partition(":")
    restart: dict[str, Any] = {}
    if policy != "on-failure":
        restart["policy"] = "always" if policy == "always" else "never"
    if most.isdigit() and most != "5":
        restart["max"] = int(most[:4])
    return {"restart": restart} if restart else {}


def _limits(node: Node) -> dict[str, Any]:
    deploy, ulimits = _table(node.get("deploy")), _table(node.get("ulimits"))
    resources = _table(_table(deploy.get("resources")).get("limits"))
    limits: dict[str, Any] = {key: ulimits[key] for key in ("nofile", "nproc") if type(ulimits.get(key)) is int}
    if str(resources.get("memory", "")).isdigit():
        limits["memory"] = int(resources["memory"])
    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", str(resources.get("cpus", ""))):
        limits["cpu"] = float(resources["cpus"])
    return {"limits": limits} if limits else {}


def _rest(node: Node) -> dict[str, Any]:
    rest: dict[str, Any] = {}
    size = str(_table(_table(node.get("logging")).get("options")).get("max-size", ""))
    if size.isdigit():
        rest["log_max_bytes"] = int(size)
    folders = [_inside(volume.partition(":")[2].replace("$", "$$")) for volume in _texts(node.get("volumes"))]
    if any(folders):
        rest["data"] = [folder for folder in folders if folder]
    replicas = _table(node.get("deploy")).get("replicas")
    if type(replicas) is int and replicas > 1:
        rest["instances"] = replicas
    return rest


def _table(value: Any) -> Node:
    return value if isinstance(value, dict) else {}


def _seconds(value: Any) -> float:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)s", str(value))
    number = float(found[1]) if found else 0.0
    return int(number) if number.is_integer() else number
