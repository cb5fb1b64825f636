"""The same verbs on other hosts: real ssh servers in network namespaces, and every way in which one can fail."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sshds import Sshd, key, needs_sshd, servers
from toolbox import Scratch, Stage, argv, eventually, expect_gone, free_port

pytest.importorskip("fabric", reason="takes the extra `remote`")
pytestmark = needs_sshd


class Fleet:
    """Three hosts, each with a folder of its own for the project, and the folder from which they are called."""

    def __init__(self, stage: Stage, folder: Path, hosts: list[Sshd]) -> None:
        self.stage = stage
        self.hosts = hosts
        self.here = Scratch(stage, folder / "here")
        self.projects = [Scratch(stage, one.folder / "shop") for one in hosts]
        groups = {}
        for number, (host, project) in enumerate(zip(hosts, self.projects, strict=True)):
            project.declare({"web": project.server("serve", "--say", f"here is {number}")})
            groups[f"h{number}"] = {"hosts": [host.host], "path": str(project.root)}
        groups["via"] = {"hosts": ["via", "unsafe"], "path": str(self.projects[1].root)}
        lines = [
            f"[hosts.{name}]\nhosts = {json.dumps(one['hosts'])}\npath = {json.dumps(one['path'])}\n"
            for name, one in groups.items()
        ]
        (self.here.root / "devtasks.toml").write_text("\n".join(lines))

    def run(self, *arguments: str, expect: int = 0, hosts: str = "h0,h1,h2", **options: Any) -> dict[str, Any]:
        limit = () if "--host-timeout" in arguments else ("--host-timeout", "60")
        return self.here.run("--hosts", hosts, *limit, *arguments, expect=expect, **options)


@pytest.fixture(scope="module")
def fleet(module_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with servers(module_stage, folder, 3) as hosts:
        for host in hosts:
            host.with_devtasks().start()
        yield Fleet(module_stage, folder, hosts)


def reports(answer: dict[str, Any]) -> list[Any]:
    assert [host["outcome"] for host in answer["hosts"]] == ["answered"] * len(answer["hosts"]), answer
    return [host["report"] for host in answer["hosts"]]


def test_every_verb(fleet):
    states = [one["services"][0]["state"] for one in reports(fleet.run("status"))]
    assert states == ["stopped"] * 3
    started = reports(fleet.run("start"))
    pids = [one["services"][0]["pid"] for one in started]
    assert len(set(pids)) == 3
    assert [one["services"][0]["pid"] for one in reports(fleet.run("status", "--check"))] == pids
    shown = reports(fleet.run("show-processes"))
    assert all(
        pid in [row["pid"] for row in one["services"][0]["processes"]]
        for pid, one in zip(pids, shown, strict=True)
    )
    assert [one["ports"][0]["state"] for one in reports(fleet.run("ports"))] == ["ours"] * 3
    restarted = reports(fleet.run("restart", "web"))
    assert [one["stop"]["services"][0]["stopped"] for one in restarted] == [[pid] for pid in pids]
    assert reports(fleet.run("logs", "--lines", "5"))[0]["lines"][0]["service"] == "web"
    stopped = reports(fleet.run("stop"))
    assert [len(one["services"][0]["stopped"]) for one in stopped] == [1, 1, 1]
    assert all(one["ok"] for one in reports(fleet.run("force-clean")))


def test_a_table_for_people(fleet):
    done = fleet.here.raw("--hosts", "h0,h1", "status", "--color", "never")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-3].split() == ["HOST", "SERVICE", "STATE", "HEALTH", "PID", "PORTS", "UPTIME", "MEMORY", "PROCS"]
    for line, host in zip(lines[-2:], fleet.hosts, strict=False):
        assert line.split()[:3] == [host.host, "web", "stopped"]
    assert sum("of 2)" in line for line in lines[:-3]) == 2


def test_each_trouble_is_a_line_of_its_own(fleet, stage, tmp_path):
    """One of everything that can be wrong with a host, called together with one that works."""
    home = Path(fleet.stage.environ["HOME"])
    known = (home / ".ssh" / "known_hosts").read_text()
    silent = socket.create_server(("127.0.0.1", 0))
    refusing = free_port()
    with servers(stage, tmp_path, 6, namespaces=False) as hosts:
        changed, unknown, without, older, garbling, slow = hosts
        without.program("exit 0", name="nothing")
        older.program('case "$1" in --version) echo devtasks 0.0.1;; *) echo \'{"version": 7}\';; esac')
        garbling.program("printf 'hello \\033[31m world\\n'")
        slow.program("exec cat")
        entries = [one.known() for one in (without, older, garbling, slow)]
        (home / ".ssh" / "known_hosts").write_text(
            known + "".join(entries) + changed.known(key(tmp_path / "other"))
        )
        (home / ".ssh" / "config").write_text(f"Host elsewhere\n  HostName 127.0.0.1\n  Port {refusing}\n")
        for host in hosts:
            (host.folder / "authorized").write_text((home / ".ssh" / "id_ed25519.pub").read_text())
            host.start()
        named = {
            "changed": changed.host,
            "unknown": unknown.host,
            "without": without.host,
            "older": older.host,
            "garbling": garbling.host,
            "slow": slow.host,
            "silent": f"127.0.0.1:{silent.getsockname()[1]}",
            "down": "elsewhere",
            "lost": "no-such-host.invalid",
        }
        try:
            answer = fleet.run(
                "--host-timeout",
                "15",
                "status",
                expect=1,
                hosts=",".join(["h0", *named.values()]),
                seconds=60,
                env={"HOME": str(home)},
            )
        finally:
            (home / ".ssh" / "known_hosts").write_text(known)
            silent.close()
    told = {row["host"]: row for row in answer["hosts"]}
    assert told[fleet.hosts[0].host]["outcome"] == "answered"
    expected = {
        "changed": "unverified",
        "unknown": "unverified",
        "without": "no-devtasks",
        "older": "other-version",
        "garbling": "garbled",
        "slow": "timeout",
        "silent": "timeout",
        "down": "unreachable",
        "lost": "unreachable",
    }
    assert {name: told[host]["outcome"] for name, host in named.items()} == expected, answer
    assert "devtasks 0.0.1" in told[older.host]["detail"]
    assert "\\x1b" in told[garbling.host]["detail"]
    assert "ssh-keygen -R" in told[changed.host]["hint"]
    assert "known_hosts" in told[unknown.host]["hint"]
    assert [row["exit_code"] for row in answer["hosts"]] == [0] + [1] * len(named)


def callers(fleet: Fleet) -> list[Any]:
    """The devtasks processes that were called over ssh."""
    return [one for one in fleet.stage.everything() if "--tethered" in argv(one.pid)]


def test_an_interrupted_stop_is_finished_on_the_hosts(fleet):
    for project in fleet.projects:
        service = project.server("serve", "--on", "TERM=ignore", "--name", "stubborn", stop={"timeout": 2})
        project.declare({"web": service})
    reports(fleet.run("start"))
    serving = fleet.stage.wait_for("stubborn", 3)
    calling = fleet.here.background("--hosts", "h0,h1,h2", "stop", "--json")
    eventually(lambda: len(callers(fleet)) == 3, "three hosts are told to stop")
    calling.send_signal(signal.SIGINT)
    said, errors = calling.communicate(timeout=60)
    assert calling.returncode == 130, errors
    assert "Traceback" not in errors
    assert {row["outcome"] for row in json.loads(said)["hosts"]} <= {"interrupted", "answered"}
    assert not callers(fleet)
    reports(fleet.run("stop"))
    expect_gone(serving)


def test_interrupted_while_it_starts_nothing_of_it_runs_on(fleet):
    for project in fleet.projects:
        project.declare({"web": project.server("serve", "--mute", "--name", "mute", ready={"timeout": 60})})
    calling = fleet.here.background("--hosts", "h0,h1,h2", "start")
    fleet.stage.wait_for("mute", 3)
    eventually(lambda: len(callers(fleet)) == 3, "three hosts wait")
    calling.send_signal(signal.SIGINT)
    said, errors = calling.communicate(timeout=60)
    assert calling.returncode == 130, errors + said
    assert "Traceback" not in errors + said
    assert not callers(fleet)
    reports(fleet.run("force-clean"))
    assert not fleet.stage.living("mute")


def test_the_end_of_its_connection_ends_what_was_called(fleet):
    """The caller is killed: sshd closes what it had opened, and the devtasks there takes that for a hang-up."""
    for project in fleet.projects:
        project.declare({"web": project.server("serve", "--mute", "--name", "lone", ready={"timeout": 60})})
    calling = fleet.here.background("--hosts", "h0", "start")
    fleet.stage.wait_for("lone")
    eventually(lambda: callers(fleet), "it waits")
    calling.kill()
    calling.wait()
    eventually(lambda: not callers(fleet), "the devtasks there has ended")
    reports(fleet.run("force-clean"))


def test_history_is_merged_and_followed(fleet):
    for number, project in enumerate(fleet.projects):
        project.declare({f"web{number}": project.server("serve", "--say", f"here is {number}")})
    reports(fleet.run("start"))
    told = reports(fleet.run("history"))
    assert [one["events"][-1]["service"] for one in told] == ["web0", "web1", "web2"]
    following = fleet.here.background("--hosts", "h0,h1,h2", "history", "--follow", "--json", "--lines", "1")
    assert following.stdout is not None
    first = [json.loads(following.stdout.readline()) for _ in fleet.hosts]
    assert {line["host"]: line["service"] for line in first} == {
        host.host: f"web{number}" for number, host in enumerate(fleet.hosts)
    }
    lines = fleet.here.background("--hosts", "h0,h1,h2", "logs", "--follow", "--color", "never")
    assert lines.stdout is not None
    told_of = {tuple(lines.stdout.readline().split()[:5]) for _ in fleet.hosts}
    assert told_of == {(host.host, f"web{number}", "|", "here", "is") for number, host in enumerate(fleet.hosts)}
    lines.stdout.close()  # as `| head` does: the hosts are told to end
    assert lines.wait(60) == 0
    reports(fleet.run("stop"))
    later = {json.loads(following.stdout.readline())["host"] for _ in fleet.hosts}
    assert later <= {host.host for host in fleet.hosts}
    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=60)
    assert following.returncode == 130, errors
    assert not callers(fleet)


def test_gateways_are_used_and_checked(fleet, stage, tmp_path):
    """ProxyJump: through a host that is known, and not through one that is not."""
    config = Path(fleet.stage.environ["HOME"]) / ".ssh" / "config"
    gateway = fleet.hosts[0]
    inner = gateway if gateway.network.made else fleet.hosts[1]  # a namespace has a way to itself alone
    address = "127.0.0.1" if gateway.network.made else inner.address
    with servers(stage, tmp_path, 1, namespaces=False) as (stranger,):
        public = (Path(fleet.stage.environ["HOME"]) / ".ssh" / "id_ed25519.pub").read_text()
        (stranger.folder / "authorized").write_text(public)
        stranger.start()
        hops = {"via": gateway.host, "unsafe": stranger.host}
        config.write_text(
            "".join(
                f"Host {name}\n  HostName {address}\n  Port {inner.port}\n  User root\n"
                f"  HostKeyAlias {inner.known().split()[0]}\n  ProxyJump {jump}\n"
                for name, jump in hops.items()
            )
        )
        try:
            answer = fleet.run("status", hosts="via", expect=1)
        finally:
            config.unlink()
    assert [row["outcome"] for row in answer["hosts"]] == ["answered", "unverified"], answer
    assert stranger.address in answer["hosts"][1]["detail"]
