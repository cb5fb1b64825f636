"""What is enough alone: a recorded identity, the marker, descent, cgroup and session; and what ends the walk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import (
    DIGEST,
    ME,
    NAMESPACE,
    NAMESPACES,
    ROOT,
    Actor,
    FakeWorld,
    judge,
    marker,
    project,
    recorded,
    service,
)

from devtasks.model import Match, Rejection

OTHER = "0123456789/web/" + "b" * 16  # another project's marker
FRESH = "f" * 16
IN_A_CONTAINER = (NAMESPACE + 1, 8, 9)


def whose(world: FakeWorld, actor: Actor, **known: Any) -> str | None:
    """The service that a process is found to belong to."""
    verdict = judge(world, **known).verdict(actor.pid)
    return verdict.service if isinstance(verdict, Match) else None


def kinds(world: FakeWorld, actor: Actor, **known: Any) -> set[str]:
    """All the evidence for it."""
    one = judge(world, **known)
    verdict = one.verdict(actor.pid)
    return {item.kind for item in one.evidence(verdict)} if isinstance(verdict, Match) else set()


def bare(world: FakeWorld, command: str = "node worker.js", **script: Any) -> Actor:
    """Something without a marker, outside of the project."""
    script.setdefault("cwd", "/opt")
    return world.add(command, marker=None, **script)


# --- enough alone ------------------------------------------------------------------------------------


def test_the_marker() -> None:
    world = FakeWorld()
    one = bare(world)
    one.marker = marker(nonce="whatever")
    assert whose(world, one) == "web"
    assert kinds(world, one) == {"marker"}


def test_the_marker_of_a_service_that_is_configured_no_more() -> None:
    world = FakeWorld()
    assert whose(world, bare(world, session=None, parent=world.add("x", marker=marker("gone"), cwd="/"))) == "gone"


@pytest.mark.parametrize(
    "text",
    [
        "",
        DIGEST,
        f"{DIGEST}/web",
        f"{DIGEST}/web/",
        f"{DIGEST}//{FRESH}",
        f"{DIGEST}/web/{FRESH}/more",
        f"{DIGEST[:-1]}/web/{FRESH}",
        f"{DIGEST}0/web/{FRESH}",
        f" {DIGEST}/web/{FRESH}",
        f"{DIGEST.upper()}/web/{FRESH}",
        f"/{DIGEST}/web/{FRESH}",
        OTHER,
    ],
)
def test_a_marker_is_compared_whole(text: str) -> None:
    world = FakeWorld()
    one = bare(world)
    one.marker = text
    assert judge(world).verdict(one.pid) is None


def test_a_services_name_is_compared_whole() -> None:
    world = FakeWorld()
    both = project(service("web"), service("web-api", ports=(8001,)))
    one = bare(world)
    one.marker = marker("web-api")
    assert whose(world, one, of=both) == "web-api"


def test_the_recorded_main_process() -> None:
    world = FakeWorld()
    main = bare(world)
    assert whose(world, main, runs=[recorded(main)]) == "web"
    assert kinds(world, main, runs=[recorded(main)], pid_files={"web": main.pid}) >= {"pid-file"}


def test_a_pid_file_alone_proves_nothing() -> None:
    world = FakeWorld()
    one = bare(world)
    assert judge(world, pid_files={"web": one.pid}).verdict(one.pid) is None


@pytest.mark.parametrize(
    "change", [{"start": 1}, {"boot": "boot-0"}, {"namespace": NAMESPACE + 1}, {"pid": 4000}], ids=str
)
def test_a_recorded_number_that_is_another_process_by_now(change: dict[str, Any]) -> None:
    world = FakeWorld()
    one = bare(world)
    run = recorded(one)
    assert run.main is not None
    run = recorded(one, main=run.main._replace(**change), session=None)
    assert judge(world, runs=[run], pid_files={"web": one.pid}).verdict(one.pid) is None


def test_a_run_that_is_over_still_names_its_main_process() -> None:
    world = FakeWorld()
    main = bare(world)
    assert whose(world, main, runs=[recorded(main, ended_at=1.0)]) == "web"


@pytest.mark.parametrize("depth", [1, 2, 30, 1500])
@pytest.mark.parametrize("origin", ["runner", "main", "marked"])
def test_descent_at_any_depth(origin: str, depth: int) -> None:
    """Through cleared environments, new sessions and folders."""
    world = FakeWorld()
    runner, main = world.run()
    known: dict[str, Any] = {}
    if origin == "main":
        known, main.marker, main.ppid = {"runs": [recorded(main)]}, None, 1
    elif origin == "marked":
        main.ppid = 1
    one = runner if origin == "runner" else main
    for _ in range(depth):
        one = bare(world, parent=one, session=None)
    assert whose(world, one, **known) == "web"
    assert "descendant" in kinds(world, one, **known)


def test_descent_holds_across_users_and_into_nested_namespaces() -> None:
    world = FakeWorld()
    _, main = world.run()
    one = bare(world, parent=main, uid=33)
    two = bare(world, parent=main, namespaces=IN_A_CONTAINER, uid=0)
    unread = bare(world, parent=main, uid=None, namespaces=None, cwd=None, exe=None)
    assert [whose(world, child) for child in (one, two, unread)] == ["web"] * 3


@pytest.mark.parametrize("space", [(NAMESPACE, 8, 3), (NAMESPACE, 2, 9), (NAMESPACE, 8, 9)])
@pytest.mark.parametrize("evidence", ["marker", "cgroup", "session"])
def test_mount_and_network_namespaces_do_not_matter(evidence: str, space: tuple[int, int, int]) -> None:
    assert carrier(evidence, namespaces=space) == "web"


@pytest.mark.parametrize("evidence", ["marker", "cgroup", "session"])
def test_another_pid_namespace_does(evidence: str) -> None:
    assert carrier(evidence, namespaces=IN_A_CONTAINER) is None


@pytest.mark.parametrize("evidence", ["marker", "cgroup", "session"])
def test_users_do_not_matter(evidence: str) -> None:
    assert carrier(evidence, uid=33) == "web"


def carrier(evidence: str, **script: Any) -> str | None:
    """The verdict on a process for which one thing speaks."""
    world = FakeWorld()
    _, main = world.run()
    one = bare(world, session=main.session if evidence == "session" else None, **script)
    if evidence == "marker":
        one.marker = marker()
    if evidence == "cgroup":
        one.cgroup = "/run"
    run = recorded(main, cgroup="/run" if evidence == "cgroup" else None)
    found = whose(world, one, runs=[run])
    assert found is None or kinds(world, one, runs=[run]) == {evidence}
    return found


# --- sessions ----------------------------------------------------------------------------------------


def test_the_session_while_its_leader_lives() -> None:
    world = FakeWorld()
    _, main = world.run()
    one = bare(world, session=main.session)
    assert kinds(world, one, runs=[recorded(main)]) == {"session"}
    assert whose(world, one) is None, "nobody recorded that session"


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (lambda world, number: bare(world, session=number), None),
        (lambda world, number: world.add("x", session=number, marker=marker(nonce="n"), cwd="/opt"), "web"),
        (lambda world, number: bare(world, session=number, cwd=ROOT / "data"), "web"),
        (lambda world, number: bare(world, session=number, cwd="/srv/shop2"), None),
        (lambda world, number: world.add("x", session=number, marker=OTHER, cwd="/opt"), None),
        (lambda world, number: world.add("x", session=number, marker=marker("db"), cwd="/opt"), None),
        (lambda world, number: bare(world, session=number, cwd=None, exe=None), None),
    ],
    ids=["nobody", "marker", "inside", "outside", "another project", "another service", "unreadable"],
)
def test_a_session_without_its_leader_needs_a_member_to_vouch(
    member: Callable[[FakeWorld, int], Actor], expected: str | None
) -> None:
    world = FakeWorld()
    _, main = world.run()
    run = recorded(main)
    one = bare(world, session=main.session)
    member(world, main.session)
    world.end(main)
    assert whose(world, one, runs=[run]) == expected


def test_a_zombie_vouches_for_nobody() -> None:
    world = FakeWorld()
    _, main = world.run()
    run = recorded(main)
    one = bare(world, session=main.session)
    world.add("x", session=main.session, marker=marker(), cwd="/opt", state="Z")
    world.end(main)
    assert whose(world, one, runs=[run]) is None


def test_a_session_number_that_was_given_out_again() -> None:
    world = FakeWorld()
    _, main = world.run()
    run = recorded(main)
    stranger = world.reuse(main, "bash", parent=1, session=None, cwd=ROOT, marker=None)
    child = bare(world, session=stranger.pid, parent=stranger, cwd=ROOT)
    assert stranger.session == run.session
    assert [whose(world, one, runs=[run], of=project(service(patterns=()))) for one in (stranger, child)] == [
        None
    ] * 2


def test_a_root_that_is_everywhere_vouches_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the home folder as root, whoever got the number of the session would be inside."""
    monkeypatch.setenv("HOME", str(ROOT / "home"))
    world = FakeWorld()
    _, main = world.run()
    run = recorded(main)
    one = bare(world, session=main.session, cwd=ROOT / "home" / "mail")
    world.end(main)
    assert whose(world, one, runs=[run]) is None


def test_what_a_member_of_the_session_started_goes_with_it() -> None:
    world = FakeWorld()
    _, main = world.run()
    member = bare(world, session=main.session)
    child = bare(world, parent=member, session=None)
    assert kinds(world, child, runs=[recorded(main)]) == {"descendant"}


def test_the_newest_run_has_the_session() -> None:
    world = FakeWorld()
    _, main = world.run("api", FRESH)
    runs = [recorded(main, name="api", nonce=FRESH), recorded(main, main=None, ended_at=1.0)]
    assert whose(world, bare(world, session=main.session), runs=runs) == "api"


# --- the nearest decides -----------------------------------------------------------------------------


def chain(*steps: dict[str, Any]) -> str | None:
    """The verdict on the last of a chain of processes below a service's main one; ours unless a step says no."""
    world = FakeWorld()
    _, one = world.run()
    run = recorded(one)
    for step in steps:
        script = {"marker": None, "keep": False, "cwd": "/opt", **step}
        one = world.add(script.pop("command", "node worker.js"), parent=one, **script)
    return whose(world, one, runs=[run])


KEPT = {"keep": True, "marker": marker()}
FOREIGN = {"marker": OTHER}
TMUX = {"command": "tmux -L x new", "session": None, "marker": marker()}
HANDED_DOWN = {"marker": marker()}
RESTARTED = {"marker": marker(nonce=FRESH)}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{}], "web"),
        ([KEPT], None),
        ([KEPT, {}], None),
        ([KEPT, {}, {"session": None}], None),
        ([KEPT, HANDED_DOWN | {"keep": True}], None),
        ([KEPT, RESTARTED], "web"),
        ([KEPT, RESTARTED, {}], "web"),
        ([FOREIGN], None),
        ([FOREIGN, {}], None),
        ([FOREIGN, HANDED_DOWN], "web"),
        ([{"marker": marker("db")}], "db"),
        ([{"marker": marker("db")}, {}], "db"),
        ([TMUX], None),
        ([TMUX, {}], None),
        ([TMUX, HANDED_DOWN], None),
        ([TMUX, HANDED_DOWN | {"session": None}, HANDED_DOWN, {}], None),
        ([TMUX, HANDED_DOWN | {"command": "bash", "session": None, "terminal": 3}, HANDED_DOWN], None),
        ([TMUX, RESTARTED], "web"),
        ([TMUX, HANDED_DOWN, RESTARTED, {}], "web"),
        ([TMUX, FOREIGN], None),
        ([TMUX | {"marker": None}], None),
        ([TMUX | {"marker": None}, {}], None),
        ([TMUX | {"marker": None}, HANDED_DOWN], None),
    ],
    ids=[
        "child", "kept", "below kept", "far below kept", "kept all the way", "fresh below kept", "below that",
        "foreign", "below foreign", "ours below foreign", "another service", "below another service",
        "tmux", "below tmux", "job of tmux", "jobs of jobs", "shell of tmux", "fresh below tmux",
        "fresh below a job",
        "foreign below tmux", "tmux unread", "below tmux unread", "job of tmux unread",
    ],
)  # fmt: skip
def test_the_nearest_that_says_anything_decides(steps: list[dict[str, Any]], expected: str | None) -> None:
    assert chain(*steps) == expected


@pytest.mark.parametrize(
    "command",
    [
        "tmux new -d", "screen -dm", "zellij", "gnome-terminal", "alacritty", "code .", "vim main.py", "firefox",
        "google-chrome", "/opt/google/chrome/chrome", "watchman", "adb fork-server server", "ssh-agent",
        "gpg-agent",
        "java -cp x org.gradle.launcher.daemon.bootstrap.GradleDaemon 8", "bazel(shop)",
    ],
)  # fmt: skip
def test_a_users_own_program_that_left_the_session(command: str) -> None:
    assert chain({"command": command, "marker": marker(), "session": None}) is None
    assert chain({"command": command, "session": None}) is None, "not by descent either"


@pytest.mark.parametrize("command", ["tmux new -d", "firefox", "watchman"])
def test_one_that_stays_in_the_session_is_the_runs(command: str) -> None:
    assert chain({"command": command, "marker": marker()}) == "web"


def test_the_session_of_a_run_that_nobody_recorded_is_its_main_process_s() -> None:
    world = FakeWorld()
    _, main = world.run()
    main.marker = None
    stays = bare(world, "firefox", parent=main, session=main.session)
    leaves = bare(world, "firefox", parent=main, session=None)
    assert [whose(world, one) for one in (main, stays, leaves)] == ["web", "web", None]


def test_a_shell_with_a_terminal_is_a_users_and_one_without_is_not() -> None:
    assert chain({"command": "bash", "marker": marker(), "session": None, "terminal": 34817}) is None
    assert chain({"command": "bash", "marker": marker(), "session": None}) == "web"


def test_a_users_own_program_is_not_the_runs_by_cgroup_or_session() -> None:
    world = FakeWorld()
    _, main = world.run()
    run = recorded(main, cgroup="/run")
    server = bare(world, "tmux new -d", session=None, cgroup="/run")  # orphaned, and its environment cleared
    job = bare(world, parent=server, session=None)
    other = bare(world, session=None, cgroup="/run")
    assert [whose(world, one, runs=[run]) for one in (server, job)] == [None, None]
    assert whose(world, other, runs=[run]) == "web"


def test_a_main_process_that_is_a_users_own_program_is_the_runs() -> None:
    """`command = "watchman --foreground"`: it leads the run's session, which it never left."""
    world = FakeWorld()
    _, main = world.run(command="watchman --foreground")
    assert whose(world, main, runs=[recorded(main)]) == "web"


# --- never -------------------------------------------------------------------------------------------


def test_the_caller_and_its_ancestors() -> None:
    world = FakeWorld()
    _, main = world.run()
    shell = world.add("bash", parent=main, terminal=1)
    world.me = world.add("inv stop", parent=shell)
    sibling = world.add("sleep 5", parent=shell)
    one = judge(world, runs=[recorded(main)])
    assert [one.verdict(actor.pid) for actor in (main, shell, world.me, world.init)] == [None] * 4
    assert isinstance(one.verdict(sibling.pid), Match)


def test_the_system() -> None:
    world = FakeWorld()
    world.init.marker = marker()
    thread = world.add("", kernel=True, marker=marker())
    below = bare(world, parent=thread)
    one = judge(world)
    assert [one.verdict(actor.pid) for actor in (world.init, thread, below)] == [None] * 3


def test_a_runner_is_no_target_and_its_children_are() -> None:
    world = FakeWorld()
    runner, main = world.run()
    assert whose(world, runner) is None
    assert whose(world, main) == "web"
    assert judge(world).run_attended(runner.row) == "web"
    assert judge(world).run_attended(main.row) is None


def test_another_projects_runner() -> None:
    world = FakeWorld()
    runner, main = world.run()
    runner.marker = main.marker = OTHER
    assert judge(world).run_attended(runner.row) is None
    assert whose(world, main) is None


@pytest.mark.parametrize("state", ["Z", "X"])
def test_the_gone(state: str) -> None:
    world = FakeWorld()
    _, main = world.run()
    main.state = state
    assert whose(world, main, runs=[recorded(main)]) is None
    assert judge(world).verdict(4711) is None


# --- tables that no machine should show --------------------------------------------------------------


def test_a_loop_of_parents() -> None:
    world = FakeWorld()
    one, two = bare(world), bare(world)
    one.ppid, two.ppid = two.pid, one.pid
    alone = bare(world)
    alone.ppid = alone.pid
    assert [whose(world, actor) for actor in (one, two, alone)] == [None] * 3
    two.marker = marker()
    assert whose(world, one) == "web"


def test_a_parent_that_is_missing() -> None:
    world = FakeWorld()
    assert whose(world, bare(world, parent=4711)) is None
    assert whose(world, world.add("x", parent=4711, marker=marker())) == "web"


def test_a_parent_that_is_younger_is_another_process_by_now() -> None:
    """A row keeps its parent's number; that one ended, and a process of ours got the number."""
    world = FakeWorld()
    stranger = bare(world, start=100)
    _, main = world.run(start=200)
    child = bare(world, start=300)
    stranger.ppid, child.ppid = main.pid, stranger.pid
    assert [whose(world, one) for one in (main, stranger, child)] == ["web", None, None]


def test_the_same_facts_the_same_verdicts_in_whatever_order() -> None:
    world = FakeWorld()
    _, main = world.run()
    for step in range(20):
        bare(world, parent=main if step % 3 else 1, session=None)
    there, back = judge(world), judge(world)
    pids = list(world.actors)
    forth = {pid: there.verdict(pid) for pid in pids}
    assert {pid: back.verdict(pid) for pid in reversed(pids)} == forth


def test_what_nobody_can_read_is_judged_by_what_is_above() -> None:
    world = FakeWorld()
    _, main = world.run()
    one = world.add("x", parent=main, blurred=True)
    other = world.add("x", blurred=True)
    assert whose(world, one) == "web"
    assert judge(world).verdict(other.pid) is None


# --- explain -----------------------------------------------------------------------------------------


def test_every_rule_is_told_for_every_kind_of_process() -> None:
    world = FakeWorld()
    runner, main = world.run()
    kept = world.add("tmux", parent=main, keep=True)
    swept = world.add("python main.py", cwd=ROOT)
    thread = world.add("", kernel=True)
    one = judge(world, runs=[recorded(main)], pid_files={"web": main.pid})
    names = {rule.rule for rule in one.explain(main.pid)}
    assert {"not the caller", "marker", "descendant", "cgroup", "session", "port", "pattern", "place"} <= names
    for actor in (world.init, world.me, runner, main, kept, swept, thread):
        rules = one.explain(actor.pid)
        assert {rule.rule for rule in rules} == names
        assert all(rule.detail for rule in rules)
    holding = {rule.rule for rule in one.explain(main.pid) if rule.holds}
    assert {"pid-file", "marker", "descendant", "session"} <= holding


def test_a_rejection_is_none_of_ours_and_says_why() -> None:
    world = FakeWorld()
    kept = world.add("python main.py", cwd=ROOT, keep=True)
    verdict = judge(world).verdict(kept.pid)
    assert isinstance(verdict, Rejection)
    assert "DEVTASKS_KEEP=1" in verdict.reason
    assert (verdict.service, verdict.process.pid) == ("web", kept.pid)


def test_users_are_ours() -> None:
    """The fake's own defaults: who is not said to be somebody else is one of ours."""
    world = FakeWorld()
    assert world.details([world.me.pid])[world.me.pid].uid == ME
    assert world.my_details().namespaces == NAMESPACES
