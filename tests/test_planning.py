"""In which order services start and stop, and who is asked first to end."""

from __future__ import annotations

from fakes import FakeWorld, project, service
from hypothesis import given
from hypothesis import strategies as st

from devtasks.model import Evidence, Match, Service
from devtasks.planning import cgroup_prefix, levels, roots, with_dependencies

DB = service("db", ports=())
API = service("api", ports=(), depends_on=("db",))
WEB = service("web", ports=(), depends_on=("api",))
DOCS = service("docs", ports=())
ALL = (WEB, DOCS, API, DB)


def names(groups: tuple[tuple[Service, ...], ...]) -> list[list[str]]:
    return [[one.name for one in group] for group in groups]


def test_dependencies_come_first() -> None:
    assert names(levels(ALL)) == [["docs", "db"], ["api"], ["web"]]


def test_nothing_to_order() -> None:
    assert levels(()) == ()
    assert names(levels([DB])) == [["db"]]


def test_a_dependency_that_is_not_among_them_does_not_count() -> None:
    assert names(levels([WEB, DB])) == [["web", "db"]]


def test_a_dependency_is_all_instances_of_a_group() -> None:
    workers = [service(f"worker.{n}", group="worker", instance=n, ports=(), depends_on=("db",)) for n in (1, 2)]
    last = service("web", ports=(), depends_on=("worker",))
    assert names(levels([last, *workers, DB])) == [["db"], ["worker.1", "worker.2"], ["web"]]


def test_a_cycle_is_not_waited_for() -> None:
    """The configuration refuses cycles; a plan of one must end all the same."""
    one, two = service("one", depends_on=("two",)), service("two", depends_on=("one",))
    assert names(levels([one, two])) == [["one", "two"]]


def test_what_a_service_depends_on_is_started_too() -> None:
    assert [one.name for one in with_dependencies([WEB], ALL)] == ["web", "api", "db"]
    assert [one.name for one in with_dependencies([DOCS], ALL)] == ["docs"]
    assert with_dependencies([], ALL) == ()


def test_one_instance_alone_is_started_alone() -> None:
    one, two = (service(f"worker.{n}", group="worker", instance=n, ports=(), depends_on=("db",)) for n in (1, 2))
    assert [found.name for found in with_dependencies([two], (one, two, DB))] == ["worker.2", "db"]
    web = service("web", depends_on=("worker",))
    assert {found.name for found in with_dependencies([web], (one, two, DB, web))} == {
        "web",
        "worker.1",
        "worker.2",
        "db",
    }


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=10))
def test_each_service_once_and_after_what_it_needs(needs: list[list[int]]) -> None:
    services = [
        service(f"s{n}", ports=(), depends_on=tuple(f"s{need}" for need in some if need < n))
        for n, some in enumerate(needs)
    ]
    found = levels(services)
    assert sorted(one.name for group in found for one in group) == sorted(one.name for one in services)
    done: set[str] = set()
    for group in found:
        assert all(set(one.depends_on) <= done for one in group)
        done |= {one.group for one in group}


# --- who is asked first ------------------------------------------------------------------------------


def asked(world: FakeWorld, *pids: int) -> set[int]:
    rows = world.look().processes
    matches = [Match(rows[pid], "web", (Evidence("marker", "x"),)) for pid in pids]
    return {row.pid for row in roots(matches)}


def test_those_whose_parent_is_none_of_them() -> None:
    world = FakeWorld()
    top = world.add("a")
    child = world.add("b", parent=top)
    grandchild = world.add("c", parent=child)
    orphan = world.add("d")
    pids = [one.pid for one in (top, child, grandchild, orphan)]
    assert asked(world, *pids) == {top.pid, orphan.pid}
    assert asked(world, *pids[1:]) == {child.pid, orphan.pid}
    assert asked(world, top.pid, grandchild.pid) == {top.pid, grandchild.pid}
    assert asked(world) == set()


def test_a_number_that_was_given_out_again_is_no_parent() -> None:
    world = FakeWorld()
    old = world.add("a", start=1)
    young = world.add("b", start=9)
    old.ppid = young.pid
    assert asked(world, old.pid, young.pid) == {old.pid, young.pid}


def test_somebody_is_asked_in_whatever_table() -> None:
    """Two rows that were read at different times may name each other as parent."""
    world = FakeWorld()
    one, two = world.add("a", start=5), world.add("b", start=5)
    one.ppid, two.ppid = two.pid, one.pid
    assert asked(world, one.pid, two.pid) == {one.pid, two.pid}


def test_the_cgroups_of_one_service_are_no_others() -> None:
    shop = project()
    assert cgroup_prefix(shop, "web").startswith("devtasks-")
    assert not cgroup_prefix(shop, "web-api").startswith(cgroup_prefix(shop, "api"))
