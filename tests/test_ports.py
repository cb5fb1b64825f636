"""`ports`: what holds each port, with real sockets; and the pure rules behind it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anybody import anybody
from toolbox import PYTHON, Being, Scratch, Stage, eventually, free_port

from devtasks.config.loading import load
from devtasks.model import Endpoint, Process
from devtasks.outcomes import PortHolder
from devtasks.ports.shadows import shadows
from devtasks.ports.verdict import Claim, Socket, claims, row
from devtasks.store.state import State
from devtasks.world import containers, this_world

# `listen.py NAME HOST PORT OPTION …`
LISTEN = """
import os, signal, socket, sys
import stage
name, host, port, *options = sys.argv[1:]
kind = socket.SOCK_DGRAM if "udp" in options else socket.SOCK_STREAM
def listen():
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if "reuse" in options:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if "only6" in options:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((host, int(port)))
    if kind == socket.SOCK_STREAM:
        listener.listen()
    return listener
one = None if "apart" in options else listen()
if "fork" in options:
    os.fork()
one = one or listen()
if "stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
stage.announce(name)
stage.serve(None)
"""


def listener(stage: Stage, name: str, port: int, *options: str, host: str = "127.0.0.1", cwd: Path) -> Being:
    """A stranger that listens, started in `cwd`."""
    script = stage.folder / "listen.py"
    if not script.exists():
        shutil.copy(Path(__file__).parent / "programs" / "stage.py", stage.folder)
        script.write_text(LISTEN)
    count = 2 if "fork" in options else 1
    command = [PYTHON, str(script), name, host, str(port), *options]
    stage.detached(f"{name}-launched", command, cwd)
    first, *_ = (stage.adopt(one) for one in stage.wait_for(name, count))
    return first


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of nobody's project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def shop(scratch: Scratch) -> Scratch:
    scratch.declare({"web": scratch.server()}, project="shop")
    return scratch


def port_of(scratch: Scratch) -> int:
    (found,) = load(scratch.root, {}).services
    assert found.port is not None
    return found.port


def rows(scratch: Scratch, *flags: str, **options: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = scratch.run("ports", *flags, **options)["ports"]
    return listed


def only_row(scratch: Scratch, **options: Any) -> dict[str, Any]:
    (found,) = rows(scratch, **options)
    return found


# --- who holds it ------------------------------------------------------------------------------------


def test_free_and_ours(shop: Scratch) -> None:
    port = port_of(shop)
    found = only_row(shop)
    assert (found["port"], found["protocol"], found["service"]) == (port, "tcp", "web")
    assert (found["state"], found["holders"], found["warnings"]) == ("free", [], [])
    pid = shop.start()
    found = only_row(shop)
    assert found["state"] == "ours"
    (holder,) = found["holders"]
    assert (holder["pid"], holder["service"], holder["project"]) == (pid, "web", None)
    assert holder["addresses"] == [f"127.0.0.1:{port}"]
    text = shop.raw("ports").stdout
    assert str(pid) in text
    assert "ours" in text
    shop.run("stop")


def test_a_stranger_is_named(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    stranger = listener(stage, "stranger", port, cwd=elsewhere)
    found = only_row(shop)
    assert found["state"] == "foreign"
    (holder,) = found["holders"]
    assert holder["pid"] == stranger.pid
    assert holder["program"] == "listen.py"
    assert holder["cwd"] == str(elsewhere)
    assert holder["service"] is None
    assert 0 <= holder["age_seconds"] < 120
    text = " ".join(shop.raw("ports").stdout.split())
    assert f"{port} web foreign {stranger.pid} " in text


def test_another_project_and_another_checkout_are_told_apart(shop: Scratch, stage: Stage, tmp_path: Path) -> None:
    port = port_of(shop)
    other = Scratch(stage, tmp_path / "other")
    other.declare({"api": other.server(port=port)}, project="other")
    pid = other.start()
    found = only_row(shop)
    assert found["state"] == "foreign"
    assert found["holders"][0]["project"] == str(other.root)
    assert found["holders"][0]["project_service"] == "api"
    assert found["warnings"] == [f"port {port} of web is served by another project, {other.root} (PID {pid})"]
    other.run("stop")

    twin = Scratch(stage, tmp_path / "twin")
    twin.declare({"backend": twin.server(port=port)}, project="shop")
    pid = twin.start()
    assert only_row(shop)["warnings"] == [
        f"port {port} of web is served by another checkout, {twin.root} (PID {pid})"
    ]
    twin.run("stop")


def test_started_by_hand_in_another_checkout(shop: Scratch, stage: Stage, tmp_path: Path) -> None:
    twin = Scratch(stage, tmp_path / "twin")
    twin.declare({"web": twin.server()}, project="shop")
    listener(stage, "by-hand", port_of(shop), cwd=twin.root)
    (warning,) = only_row(shop)["warnings"]
    assert f"another checkout, {twin.root}" in warning


def test_a_service_on_the_port_of_another(scratch: Scratch) -> None:
    one = free_port()
    command = [PYTHON, "main.py", "--port", str(one), "--say", "up"]
    web = {**scratch.server(port=one), "listener": "any"}
    scratch.declare({"web": web, "api": {"command": command, "ready": {"log": "up"}}})
    scratch.run("start", "api")
    eventually(lambda: not only_free(scratch, one), "api listens")
    (found,) = [item for item in rows(scratch) if item["port"] == one]
    assert found["state"] == "ours"
    assert found["holders"][0]["service"] == "api"
    assert found["warnings"] == [f"port {one} of web is held by api, a service of this project"]
    scratch.run("stop")


def only_free(scratch: Scratch, port: int) -> bool:
    return next(item for item in rows(scratch) if item["port"] == port)["state"] == "free"


def test_somebody_whom_we_may_not_see() -> None:
    port = free_port()
    with anybody() as user, socket.create_server(("127.0.0.1", port)):
        (user.home / "devtasks.toml").write_text(f'[services.web]\ncommand = "x"\nport = {port}\n')
        code, report, _ = user.devtasks("ports")
        assert code == 0
        (found,) = report["ports"]
        assert found["state"] == "unknown"
        (holder,) = found["holders"]
        assert (holder["pid"], holder["user"]) == (None, "root")


def test_a_holder_behind_a_container_proxy(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    proxy = docker_proxy(stage, port, elsewhere)
    found = only_row(shop, env={"PATH": f"{fake_docker(stage, port)}:{os.defpath}"})
    assert found["state"] == "container"
    (holder,) = found["holders"]
    assert (holder["pid"], holder["container"], holder["stop"]) == (
        proxy.pid,
        "shop-db-1",
        "docker stop shop-db-1",
    )
    text = shop.raw("ports", env={"PATH": f"{fake_docker(stage, port)}:{os.defpath}"}).stdout
    assert "docker stop shop-db-1" in text
    # an engine that hangs or fails costs the name, and nothing else
    found = only_row(shop, env={"PATH": f"{fake_docker(stage, port, 'exec sleep 60')}:{os.defpath}"})
    assert found["state"] == "container"
    assert found["holders"][0]["container"] is None


def docker_proxy(stage: Stage, port: int, cwd: Path) -> Being:
    """A process that is called docker-proxy and has a port."""
    shutil.copy(Path(__file__).parent / "programs" / "stage.py", stage.folder)
    (stage.folder / "listen.py").write_text(LISTEN)
    command = ["docker-proxy", "-B", str(stage.folder / "listen.py"), "proxy", "127.0.0.1", str(port)]
    executable = stage.disguise("docker-proxy")
    stage.detached("proxy-launched", command, cwd, executable=executable, env={"PYTHONHOME": sys.base_prefix})
    return stage.one("proxy")


def fake_docker(stage: Stage, port: int, command: str | None = None) -> Path:
    """A folder with a `docker` that publishes the port for a container, or does `command`."""
    folder = stage.folder / "engine"
    folder.mkdir(exist_ok=True)
    listing = f"other\\t\\nshop-db-1\\t0.0.0.0:{port}->5432/tcp, [::]:{port}->5432/tcp\\n"
    does = command or f"printf '{listing}'"
    (folder / "docker").write_text(f"#!/bin/sh\n{does}\n")
    (folder / "docker").chmod(0o755)
    return folder


# --- families, groups, protocols ---------------------------------------------------------------------


def test_ipv6_alone_and_dual_stack(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    sixth = listener(stage, "sixth", port, "only6", host="::", cwd=elsewhere)
    found = only_row(shop)
    assert (found["state"], found["holders"][0]["addresses"]) == ("foreign", [f"[::]:{port}"])
    assert found["warnings"] == [f"127.0.0.1:{port} is free all the same"]
    sixth.kill()
    both = listener(stage, "both", port, host="::", cwd=elsewhere)
    found = only_row(shop)
    assert (found["holders"][0]["pid"], found["warnings"]) == (both.pid, [])


def test_one_program_on_ipv4_and_another_on_ipv6(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    shop.start()
    stranger = listener(stage, "stranger", port, host="::1", cwd=elsewhere)
    found = only_row(shop)
    assert found["state"] == "ours"
    assert {holder["pid"] for holder in found["holders"]} == {shop_pid(shop), stranger.pid}
    (warning,) = found["warnings"]
    assert warning == (
        f"localhost:{port} may mean either program: "
        f"web has 127.0.0.1:{port}; PID {stranger.pid} (listen.py) has [::1]:{port}"
    )
    shop.run("stop")
    assert stranger.alive


def shop_pid(scratch: Scratch) -> int:
    return int(scratch.pid_file().read_text())


def test_strangers_that_share_a_port_by_chance(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    one = listener(stage, "one", port, "reuse", cwd=elsewhere)
    two = listener(stage, "two", port, "reuse", cwd=elsewhere)
    found = only_row(shop)
    assert {holder["pid"] for holder in found["holders"]} == {one.pid, two.pid}
    (warning,) = found["warnings"]
    assert "goes to one of them by chance" in warning


@pytest.mark.parametrize("options", [("fork",), ("reuse", "apart", "fork")])
def test_a_master_and_its_workers_are_one(
    shop: Scratch, stage: Stage, elsewhere: Path, options: tuple[str, ...]
) -> None:
    """Whether they share one socket or each has one of its own."""
    listener(stage, "server", port_of(shop), *options, cwd=elsewhere)
    pids = {one.pid for one in stage.living("server")}
    found = only_row(shop)
    assert len(pids) == 2
    assert {holder["pid"] for holder in found["holders"]} == pids
    assert found["warnings"] == []


def test_udp_when_asked_for(shop: Scratch, stage: Stage, elsewhere: Path) -> None:
    port = port_of(shop)
    stranger = listener(stage, "datagrams", port, "udp", cwd=elsewhere)
    assert only_row(shop)["state"] == "free"
    tcp, udp = rows(shop, "--udp")
    assert (tcp["protocol"], tcp["state"]) == ("tcp", "free")
    assert (udp["protocol"], udp["state"], udp["port"]) == ("udp", "foreign", port)
    assert udp["holders"][0]["pid"] == stranger.pid


def test_a_wildcard_hides_nothing_and_another_address_is_no_obstacle(
    shop: Scratch, stage: Stage, elsewhere: Path
) -> None:
    port = port_of(shop)
    beside = listener(stage, "beside", port, host="127.0.0.2", cwd=elsewhere)
    found = only_row(shop)
    assert (found["holders"][0]["pid"], found["state"]) == (beside.pid, "foreign")
    assert found["warnings"] == [f"127.0.0.1:{port} is free all the same"]
    beside.kill()
    listener(stage, "everywhere", port, host="0.0.0.0", cwd=elsewhere)
    assert only_row(shop)["warnings"] == []


# --- what is no holder ----------------------------------------------------------------------------------


def test_clients_of_the_port_are_none(shop: Scratch) -> None:
    port = port_of(shop)
    pid = shop.start()
    with socket.create_connection(("127.0.0.1", port)):
        assert [holder["pid"] for holder in only_row(shop)["holders"]] == [pid]
    shop.run("stop")


def test_a_client_whose_own_end_has_the_number_is_none(shop: Scratch) -> None:
    port = port_of(shop)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(server.getsockname())
        found = only_row(shop)
        assert (found["state"], found["holders"]) == ("free", [])
        (warning,) = found["warnings"]
        assert f"nobody listens on port {port}, but it cannot be bound now" in warning
        assert f"of PID {os.getpid()}" in warning


def test_a_longer_number_is_another_port(scratch: Scratch) -> None:
    for port in range(3000, 6500):
        with socket.socket() as longer:
            try:
                longer.bind(("127.0.0.1", port * 10 + 1))
            except OSError:
                continue
            longer.listen()
            scratch.declare({"web": {"command": "x", "port": port}})
            assert only_row(scratch)["holders"] == []
            return
    pytest.skip("no pair of ports is free")


def test_another_network_namespace_is_another_world(shop: Scratch, stage: Stage) -> None:
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("no network namespace can be made")
    port = port_of(shop)
    command = ["unshare", "-n", PYTHON, "main.py", "--port", str(port), "--host", "0.0.0.0", "--name", "apart"]
    stage.popen(command, shop.root)
    apart = stage.one("apart")
    assert only_row(shop)["state"] == "free"
    shop.raw("free-port", "--port", str(port), "--force")
    assert apart.alive
    with socket.create_server(("127.0.0.1", port)):
        assert [holder["pid"] for holder in only_row(shop)["holders"]] == [os.getpid()]


# --- which ports ----------------------------------------------------------------------------------------


def test_registered_ports_are_listed_with_their_names(shop: Scratch, stage: Stage) -> None:
    port = free_port()
    pid = shop.start()
    state = State.open(load(shop.root, {}), create=True)
    world = this_world()
    owner = world.identity(world.look().processes[pid])
    assert state.register_port("web", port, name="proxy-a", owner=owner)
    assert state.register_port("web", port_of(shop), name="main", owner=owner)
    state.close()
    first, second = rows(shop)
    assert (first["port"], first["name"]) == (port_of(shop), None)
    assert (second["port"], second["service"], second["name"]) == (port, "web", "proxy-a")
    assert second["state"] == "free"
    shop.run("stop")


def test_only_some_services(scratch: Scratch) -> None:
    scratch.declare({"web": {"command": "x", "port": 8001}, "api": {"command": "x", "ports": [8002, 8003]}})
    assert [item["port"] for item in rows(scratch)] == [8001, 8002, 8003]
    assert [item["port"] for item in rows(scratch, "--only", "api")] == [8002, 8003]


def test_a_project_without_ports(scratch: Scratch) -> None:
    scratch.declare({"web": {"command": "x"}})
    assert rows(scratch) == []
    assert "no ports" in scratch.raw("ports").stdout


# --- the rules alone --------------------------------------------------------------------------------------


def process(pid: int, ppid: int = 1, *argv: str) -> Process:
    cmdline = b"".join(word.encode() + b"\0" for word in argv or ("server",))
    return Process(pid, ppid, pid, 0, "S", pid, cmdline, None, keep=False, runner=False)


def holder(pid: int, service: str | None = None) -> PortHolder:
    return PortHolder(pid=pid, command=f"server {pid}", cwd="/", service=service, program="server")


def at(address: str, inode: int, *pids: int) -> Socket:
    return Socket(Endpoint("tcp", 8000, address, inode=inode, uid=0), pids)


def judged(*sockets: Socket, ours: dict[int, str] | None = None, **parents: int) -> tuple[Any, list[str]]:
    pids = sorted({pid for one in sockets for pid in one.pids})
    known = {pid: holder(pid, (ours or {}).get(pid)) for pid in pids}
    processes = {pid: process(pid, parents.get(f"p{pid}", 1)) for pid in pids}
    found = row(Claim(8000, "web", "127.0.0.1"), "tcp", sockets, known, processes)
    return found, shadows(8000, sockets, found.holders, processes)


def test_the_verdict_of_a_row() -> None:
    assert judged()[0].state == "free"
    assert judged(at("127.0.0.1", 1, 10))[0].state == "foreign"
    assert judged(at("127.0.0.1", 1, 10), ours={10: "web"})[0].state == "ours"
    assert judged(at("127.0.0.1", 1))[0].state == "unknown"
    assert judged(at("127.0.0.1", 1, 10), at("::1", 2))[0].state == "foreign"
    mixed, warnings = judged(at("127.0.0.1", 1, 10), at("::1", 2), ours={10: "web"})
    assert mixed.state == "ours"
    assert [one.pid for one in mixed.holders] == [10, None]
    assert warnings


def test_who_serves_together() -> None:
    shared = judged(at("127.0.0.1", 1, 10, 11), at("::1", 2, 10, 11))
    assert shared[1] == []
    family = judged(at("127.0.0.1", 1, 10), at("::1", 2, 11), p11=10)
    assert family[1] == []
    siblings = judged(at("127.0.0.1", 1, 10), at("127.0.0.1", 2, 11), p10=5, p11=5)
    assert siblings[1] == []
    orphans = judged(at("127.0.0.1", 1, 10), at("127.0.0.1", 2, 11))
    assert len(orphans[1]) == 1
    service = judged(at("127.0.0.1", 1, 10), at("::1", 2, 11), ours={10: "web", 11: "web"})
    assert service[1] == []


def test_addresses_of_one_family_are_no_matter_of_localhost() -> None:
    (line,) = judged(at("127.0.0.1", 1, 10), at("192.0.2.1", 2, 11))[1]
    assert line.startswith("who answers on port 8000 depends on the address")


def test_configured_ports_come_before_registered_ones(scratch: Scratch) -> None:
    scratch.declare({"web": {"command": "x", "ports": [8001, 8002]}})
    found = claims(load(scratch.root, {}).services, [("web", "a", 8002), ("web", "b", 8003), ("web", "b", 8003)])
    assert [(one.port, one.name) for one in found] == [(8001, None), (8002, None), (8003, "b")]


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("0.0.0.0:8000->80/tcp", "c"),
        (":::8000->80/tcp", "c"),
        ("[::]:8000->80/tcp", "c"),
        ("80/tcp, 127.0.0.1:7998-8003->7998-8003/tcp", "c"),
        ("0.0.0.0:18000->80/tcp", None),
        ("0.0.0.0:80->8000/tcp", None),
        ("0.0.0.0:8000->80/udp", None),
        ("8000/tcp", None),
        ("", None),
    ],
)
def test_what_engines_say_about_ports(published: str, name: str | None, monkeypatch: Any) -> None:
    with engine(f"c\t{published}", monkeypatch):
        found = containers.publishing(8000)
        assert (found.name if found else None) == name


def test_an_engine_is_not_believed_everything(monkeypatch: Any) -> None:
    with engine("c; rm -rf /\t0.0.0.0:8000->80/tcp", monkeypatch):
        assert containers.publishing(8000) is None


@contextmanager
def engine(listing: str, monkeypatch: Any) -> Iterator[None]:
    monkeypatch.setattr(containers, "_listing", lambda name: [listing] if name == "docker" else [])
    yield
