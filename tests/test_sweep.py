"""What is enough only together: a port or a pattern, and the place; and what speaks against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes import ME, NAMESPACE, NAMESPACES, ROOT, Actor, FakeWorld, judge, marker, project, recorded, service

from devtasks.model import Match, Rejection


def verdict(world: FakeWorld, actor: Actor, **known: Any) -> str | None:
    """The service, "no: " and the reason of a rejection, or None where nothing speaks for it."""
    found = judge(world, **known).verdict(actor.pid)
    if isinstance(found, Rejection):
        return f"no: {found.reason}"
    return found.service if found is not None else None


def kinds(world: FakeWorld, actor: Actor, **known: Any) -> list[str]:
    found = judge(world, **known).verdict(actor.pid)
    return [item.kind for item in found.evidence] if isinstance(found, Match) else []


def by_hand(world: FakeWorld, command: str = "python main.py", **script: Any) -> Actor:
    """As somebody starts it in a terminal, in the project's folder."""
    script = {"cwd": ROOT, "session": 50, "terminal": 34816, **script}
    return world.add(command, **script)


def on_port(world: FakeWorld, command: str = "node server.js", **script: Any) -> Actor:
    """Nothing but its port and its folder speak for it."""
    return by_hand(world, command, ports=(8000,), **script)


# --- enough together ---------------------------------------------------------------------------------


def test_a_pattern_inside_the_project() -> None:
    world = FakeWorld()
    assert kinds(world, by_hand(world)) == ["pattern"]


def test_a_port_inside_the_project() -> None:
    world = FakeWorld()
    assert kinds(world, on_port(world)) == ["port"]


def test_both() -> None:
    world = FakeWorld()
    assert kinds(world, on_port(world, "python main.py")) == ["port", "pattern"]


def test_every_configured_port_counts_and_no_other() -> None:
    world = FakeWorld()
    both = project(service(ports=(8000, 8001), patterns=()))
    assert kinds(world, by_hand(world, "x", ports=(8001,)), of=both) == ["port"]
    assert verdict(world, by_hand(world, "x", ports=(8002,)), of=both) is None


def test_neither_a_place_alone_nor_a_port_alone_nor_a_pattern_alone() -> None:
    world = FakeWorld()
    assert verdict(world, by_hand(world, "python other.py")) is None
    assert verdict(world, on_port(world, cwd="/opt")) == "no: works in /opt, not inside the project"
    assert verdict(world, by_hand(world, cwd="/opt")) == "no: works in /opt, not inside the project"


def test_a_pid_file_is_a_hint_that_changes_nothing() -> None:
    world = FakeWorld()
    plain, alike = by_hand(world, "python other.py"), by_hand(world)
    assert verdict(world, plain, pid_files={"web": plain.pid}) is None
    assert kinds(world, alike, pid_files={"web": alike.pid}) == ["pattern"]


@pytest.mark.parametrize(
    "command",
    [
        "python3 deploy.py main.py",
        "python other.py python main.py",
        "python -c import\tpython\tmain.py",
        "echo python main.py",
        "ssh host python main.py",
        "python3.12 train_domain.py",
        "xpython main.py",
    ],
)
def test_a_pattern_counts_from_the_program_on(command: str) -> None:
    world = FakeWorld()
    one = by_hand(world, command)
    found = judge(world).verdict(one.pid)
    assert not isinstance(found, Match), found


def test_the_one_whose_folder_is_nearest_among_those_that_run_alike() -> None:
    """Two services with one pattern: `npm run dev` in two folders."""
    world = FakeWorld()
    both = project(
        service("all", ports=(), cwd=ROOT),
        service("back", ports=(), cwd=ROOT / "back"),
        service("front", ports=(), cwd=ROOT / "front"),
    )
    assert verdict(world, by_hand(world, cwd=ROOT / "front" / "src"), of=both) == "front"
    assert verdict(world, by_hand(world, cwd=ROOT / "back"), of=both) == "back"
    assert verdict(world, by_hand(world, cwd=ROOT / "backend"), of=both) == "all"


def test_a_port_decides_among_those_that_run_alike() -> None:
    world = FakeWorld()
    both = project(service("one", ports=(8001,)), service("two", ports=(8000,)))
    assert verdict(world, on_port(world, "python main.py"), of=both) == "two"


# --- what goes with it -------------------------------------------------------------------------------


def test_what_it_started_goes_with_it() -> None:
    world = FakeWorld()
    top = by_hand(world)
    child = world.add("python -c from multiprocessing.spawn import spawn_main", parent=top)
    grandchild = world.add("esbuild", parent=child, session=None, cwd="/opt")
    assert [verdict(world, one) for one in (top, child, grandchild)] == ["web"] * 3
    assert kinds(world, grandchild) == ["descendant"]


@pytest.mark.parametrize("depth", [3, 2000])
def test_at_any_depth_and_in_any_order(depth: int) -> None:
    world = FakeWorld()
    top = one = by_hand(world)
    for _ in range(depth):
        one = world.add("node", parent=one)
    assert verdict(world, one) == "web"
    top.argv = ("python", "other.py")
    assert verdict(world, one) is None


def test_a_users_own_program_goes_its_own_way() -> None:
    world = FakeWorld()
    top = by_hand(world)
    browser = world.add("firefox", parent=top, session=None)
    tab = world.add("x", parent=browser)
    assert [verdict(world, one) for one in (browser, tab)] == [None, None]


def test_one_that_stays_in_its_session_goes_with_it() -> None:
    world = FakeWorld()
    top = by_hand(world)
    assert verdict(world, world.add("firefox", parent=top)) == "web"


def test_what_carries_keep_or_a_foreign_marker_does_not_go_with_it() -> None:
    world = FakeWorld()
    top = by_hand(world)
    kept = world.add("node", parent=top, keep=True)
    foreign = world.add("node", parent=top, marker="0123/web/" + "b" * 16)
    below = world.add("node", parent=kept, keep=False)
    assert [verdict(world, one) for one in (kept, foreign, below)] == [None] * 3


def test_what_a_rejected_one_started_does_not_go_with_it() -> None:
    world = FakeWorld()
    top = by_hand(world, cwd="/opt")
    assert verdict(world, world.add("node", parent=top, cwd=ROOT)) is None


def test_nothing_goes_with_the_caller() -> None:
    """A hand-started service that runs `inv stop` itself: its other children are not the caller's to judge."""
    world = FakeWorld()
    top = by_hand(world)
    world.me = world.add("inv stop", parent=top)
    other = world.add("node", parent=top)
    assert [verdict(world, one) for one in (top, world.me, other)] == [None] * 3


# --- what speaks against it --------------------------------------------------------------------------


@pytest.fixture(params=["port", "pattern"])
def alike(request: pytest.FixtureRequest) -> Any:
    """A process that one of both speaks for, as a function of what else is true of it."""

    def make(world: FakeWorld, **script: Any) -> Actor:
        return on_port(world, **script) if request.param == "port" else by_hand(world, **script)

    return make


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ({"uid": ME + 1}, "belongs to user 1001"),
        ({"uid": 0}, "belongs to user 0"),
        ({"uid": None}, "its user could not be read"),
        ({"namespaces": (NAMESPACE + 1, 2, 3)}, "in other namespaces"),
        ({"namespaces": (NAMESPACE, 9, 3)}, "in other namespaces"),
        ({"namespaces": (NAMESPACE, 2, 9)}, "in other namespaces"),
        ({"namespaces": None}, "they cannot be read"),
        ({"cwd": "/srv/shop2"}, "not inside the project"),
        ({"cwd": "/srv"}, "not inside the project"),
        ({"cwd": "/srv/sho"}, "not inside the project"),
        ({"cwd": "/"}, "not inside the project"),
        ({"cwd": None, "exe": None}, "cannot be read"),
        ({"keep": True}, "DEVTASKS_KEEP=1"),
        ({"marker": "0123/web/" + "b" * 16}, "another project's marker"),
    ],
)
def test_user_namespaces_and_place_must_be_ours(alike: Any, script: dict[str, Any], reason: str) -> None:
    world = FakeWorld()
    assert reason in str(verdict(world, alike(world, **script)))


def test_root_reaches_the_folders_owner_too(alike: Any) -> None:
    world = FakeWorld()
    owners, roots, others = (alike(world, uid=uid) for uid in (ME, 0, 33))
    assert [verdict(world, one, users=(0, ME)) for one in (owners, roots)] == ["web"] * 2
    assert "user 33" in str(verdict(world, others, users=(0, ME)))


def test_without_a_user_of_our_own_nobody_is_ours(alike: Any) -> None:
    world = FakeWorld()
    assert "user" in str(verdict(world, alike(world, uid=None), users=()))


def test_unread_namespaces_of_our_own_prove_nothing(alike: Any) -> None:
    world = FakeWorld()
    one = alike(world, namespaces=None)
    world.me.details = world.add("x", namespaces=None).details
    assert "cannot be read" in str(verdict(world, one))


@pytest.mark.parametrize("name", ["production", "prod"])
def test_production_forbids_both(alike: Any, name: str) -> None:
    world = FakeWorld()
    assert name in str(verdict(world, alike(world), of=project(environment=name)))


@pytest.mark.parametrize("name", ["development", "staging", "test", "reproduction", ""])
def test_other_environments_do_not(alike: Any, name: str) -> None:
    world = FakeWorld()
    assert verdict(world, alike(world), of=project(environment=name)) == "web"


def test_production_allows_what_is_proven() -> None:
    world = FakeWorld()
    _, main = world.run()
    child = world.add("python main.py", parent=main, marker=None)
    for one in (main, child):
        assert verdict(world, one, of=project(environment="production"), runs=[recorded(main)]) == "web"


@pytest.mark.parametrize("root", ["/", "/srv/home", "/srv"])
def test_a_root_that_holds_everything_proves_nothing(
    alike: Any, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/srv/home")
    world = FakeWorld()
    one = alike(world, cwd="/srv/home/x")
    assert "holds everything" in str(verdict(world, one, of=project(service(cwd=Path(root)), root=Path(root))))


def test_a_root_beside_the_home_folder_does(alike: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/sho")
    world = FakeWorld()
    assert verdict(world, alike(world)) == "web"


def test_pid_1_and_kernel_threads_are_never_swept() -> None:
    """In a container the server may be PID 1."""
    world = FakeWorld()
    thread = on_port(world, "python main.py", kernel=True)
    world.init = on_port(world, "python main.py", pid=1, parent=0)
    assert [verdict(world, one, callers=frozenset()) for one in (world.init, thread)] == [None, None]


# --- bystanders: the full list is in test_programs.py ------------------------------------------------

MENTIONING = {
    "editor": "vim python main.py",
    "pager": "less python main.py",
    "multiplexer": "tmux new python main.py",
    "ssh": "ssh host python main.py",
    "version control": "git log main.py",
    "container client": "docker run x python main.py",
    "container proxy": "docker-proxy -proto tcp -host-port 8000",
    "debugger": "gdb --args python main.py",
    "test runner": "pytest main.py",
    "linter": "ruff check main.py",
    "language server": "pyright-langserver --stdio",
    "shell in use": "bash",
}


@pytest.mark.parametrize("kind", MENTIONING)
def test_a_program_that_only_mentions_it_is_not_reached_by_its_port(kind: str) -> None:
    world = FakeWorld()
    assert verdict(world, on_port(world, MENTIONING[kind])) == f"no: {kind}, which only mentions it"


@pytest.mark.parametrize(
    "command",
    ["uv run pytest", "python -m pdb main.py", "python -m pytest", "python -m debugpy --listen 1 main.py"],
)
def test_nor_what_a_test_runner_or_debugger_started(alike: Any, command: str) -> None:
    world = FakeWorld()
    starter = by_hand(world, command)
    between = world.add("sh -c x", parent=starter)
    one = alike(world, parent=between)
    assert f"(PID {starter.pid})" in str(verdict(world, one))


def test_a_test_runner_above_the_caller_forbids_nothing(alike: Any) -> None:
    """Tests may use devtasks on what they started."""
    world = FakeWorld()
    starter = by_hand(world, "pytest")
    world.me = world.add("inv stop", parent=starter)
    assert verdict(world, alike(world, parent=starter)) == "web"


def test_a_number_that_was_given_out_again_starts_nothing(alike: Any) -> None:
    """A test runner that is younger than a process did not start it."""
    world = FakeWorld()
    starter = by_hand(world, "pytest", start=10**6)
    assert verdict(world, alike(world, parent=starter)) == "web"


@pytest.mark.parametrize("own", ["make start", "inv start", "devtasks start", "just dev"])
def test_task_runners_start_services_and_are_none(own: str) -> None:
    world = FakeWorld()
    assert verdict(world, by_hand(world, own), of=project(service(patterns=(".*",)))) is None


# --- with lineage ------------------------------------------------------------------------------------


def test_a_job_in_a_multiplexer_that_a_service_started_is_reached_as_by_hand() -> None:
    """The marker was handed down and says nothing; port and pattern still may."""
    world = FakeWorld()
    _, main = world.run()
    server = world.add("tmux new -d", parent=main, session=None)
    shell = world.add("bash", parent=server, session=None, terminal=7)
    job = world.add("python main.py", parent=shell)
    other = world.add("python other.py", parent=shell)
    runs = [recorded(main)]
    assert kinds(world, job, runs=runs) == ["pattern"]
    assert [verdict(world, one, runs=runs) for one in (server, shell, other)] == [None] * 3


def test_one_in_another_pid_namespace_is_not_reached_in_any_way() -> None:
    world = FakeWorld()
    one = on_port(world, "python main.py", marker=marker(), namespaces=(NAMESPACE + 1, *NAMESPACES[1:]))
    assert "namespaces" in str(verdict(world, one))


def test_the_service_of_the_marker_has_it_whatever_it_looks_like() -> None:
    world = FakeWorld()
    both = project(service("web"), service("api", ports=(8001,), patterns=()))
    one = on_port(world, "python main.py", marker=marker("api"))
    assert verdict(world, one, of=both) == "api"
