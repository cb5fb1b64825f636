"""The JSON Schema in the package and the parser say the same."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from devtasks.config import parsing as config
from devtasks.config import readers
from devtasks.errors import ConfigError
from devtasks.model import HealthProbe, Project

GUIDE = Path(__file__).parent.parent / "docs" / "configuration.md"
SCHEMA = config.schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker(["regex"]))

# What a schema cannot express, by the words that the parser says it with.
BEYOND_A_SCHEMA = re.compile(
    "cannot be split|sets a variable|takes a shell|must not be empty; write|NUL character"  # commands
    "|matches every program|must be a signal of this system|no signal is called|cannot make a process end"
    "|uses {port}, and|asks the service's port|would share|would need port|would be there twice"
    "|is the port of|is also the|goes round in a circle|no service is called|holds the project itself"
    "|exceed max_backoff"
)
# TOML's 8000.0 is no whole number to the parser; JSON Schema cannot tell it from 8000.
INTEGRAL = re.compile(r"must be (a whole number|a size|a signal).*not the number -?[0-9]+(\.0|e[+][0-9]+)$")


def documented() -> list[str]:
    return list(re.findall(r"```toml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))


def table_of(toml: str) -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads(toml)["tool"]["devtasks"]
    return loaded


def parsed(table: dict[str, Any]) -> Project:
    return config.parse(table, root=Path("/srv/shop"), source="test", project_name=None, environ={})


def problems(table: dict[str, Any]) -> tuple[str, ...]:
    try:
        parsed(table)
    except ConfigError as error:
        return error.problems
    return ()


def accepted(table: dict[str, Any]) -> bool:
    return bool(VALIDATOR.is_valid(table))


def agree(table: dict[str, Any]) -> None:
    """Both accept the table, or both refuse it, or the parser alone for a reason that no schema can express."""
    found = problems(table)
    if not accepted(table):
        assert found, f"only the schema refuses {table}: {next(VALIDATOR.iter_errors(table)).message}"
    else:
        unexplained = [line for line in found if not BEYOND_A_SCHEMA.search(line) and not INTEGRAL.search(line)]
        assert not unexplained, f"only the parser refuses {table}"


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a table."""
    if path:
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def properties(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
        for value in node.values():
            yield from properties(value)


FULL = max((table_of(toml) for toml in documented()), key=lambda table: len(table["services"]))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("toml", documented())
def test_every_documented_example_is_good(toml):
    table = table_of(toml)
    assert problems(table) == ()
    assert [error.message for error in VALIDATOR.iter_errors(table)] == []


def test_the_documented_example_shows_every_key():
    used = {key for path in places(FULL) for key in path if isinstance(key, str)}
    assert {key for key, _ in properties(SCHEMA)} <= used


def test_every_key_is_described_and_documented():
    guide = GUIDE.read_text(encoding="utf-8")
    for key, node in properties(SCHEMA):
        if "const" in node or node == {"type": "string"}:
            continue  # part of a condition
        assert node["description"].endswith("."), key
        assert f"`{key}`" in guide, key


def test_the_expressions_are_the_same():
    text = SCHEMA["$defs"]
    service = text["service"]["properties"]
    assert text["name"]["pattern"] == readers.SERVICE_NAME
    assert text["path"]["pattern"] == readers.FILE_PATH
    assert text["container"]["pattern"] == readers.CONTAINER
    assert text["remote_hosts"]["items"]["pattern"] == readers.REMOTE_HOST
    assert text["size"]["anyOf"][1]["pattern"] == readers.SIZE
    assert text["size"]["anyOf"][0]["maximum"] == readers.LARGEST_BYTES
    assert text["seconds"]["maximum"] == text["some_seconds"]["maximum"] == readers.LONGEST_SECONDS
    assert service["host"]["pattern"] == readers.HOST
    assert service["env"]["propertyNames"]["pattern"] == readers.VARIABLE
    assert service["ready"]["properties"]["http"]["pattern"] == readers.HTTP_TARGET
    assert service["health"]["properties"]["http"]["pattern"] == readers.HTTP_TARGET
    assert SCHEMA["properties"]["project"]["pattern"] == readers.PRINTABLE
    assert SCHEMA["properties"]["environment"]["pattern"] == readers.PRINTABLE


def test_the_defaults_are_the_parsers():
    def defaults(node: dict[str, Any]) -> dict[str, Any]:
        """A table with every default of a schema's object written out."""
        written = {
            key: copy.deepcopy(value["default"]) for key, value in node["properties"].items() if "default" in value
        }
        for key, value in node["properties"].items():
            if "properties" in value:
                written[key] = defaults(value)
        return written

    service = SCHEMA["$defs"]["service"]
    plain = {"services": {"web": {"command": "serve", "health": {}}}}
    written = {**defaults(SCHEMA), "services": {"web": {"command": "serve", **defaults(service)}}}
    assert written["services"]["web"]["restart"]["window"] == 600
    assert parsed(written) == parsed(plain)
    assert parsed(plain).services[0].health == HealthProbe()


scalars = st.one_of(
    st.none().map(lambda _: True),
    st.booleans(),
    st.integers(-2, 70000),
    st.integers(-(2**80), 2**80),
    st.floats(-5, 2e6, allow_nan=False),
    st.sampled_from(
        [
            "",
            " ",
            "x",
            "TERM",
            "SIGINT",
            "term",
            "10MiB",
            "0B",
            "1.5GB",
            "1gb",
            "/health",
            "http://h/x",
            "health",
            "~",
            "~/x",
            "a\nb",
            "a\x1bb",
            "(",
            "[a-z]+",
            "true",
            "8000",
            "open",
            "null",
            "any",
            "always",
            "never",
            "::1",
            "a b",
            "-h",
            "web",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=5),
)
keys = st.sampled_from(
    [*{key for key, _ in properties(SCHEMA)}, "unknown", "DEVTASKS_ID", "A", "A B", "Web", "x-1"]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)


def changed(table: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """`table` with `value` at `path`; a value of `...` removes what is there."""
    table = copy.deepcopy(table)
    node: Any = table
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return table


BAD = """
port = 65536 | port = 0 | port = "8000" | port = true | ports = [] | ports = [80, 80] | ports = [0]
port = 1; ports = [2] | instances = 0 | instances = 101 | host = "" | host = "a b" | host = "-x" | cwd = ""
cwd = "~/x" | cwd = 1 | env = { A = 1 } | env = { DEVTASKS_X = "" } | env = { "A B" = "" }
env = { "" = "" } | env_file = "~" | before = "x" | before = [[]] | before = [1] | patterns = ["("]
patterns = [""] | stdin = "nul" | listener = "" | depends_on = ["Web"] | depends_on = ["db", "db"]
shell = 1 | shell = true; command = ["x"] | log_max_bytes = 0 | log_max_bytes = "0B" | log_max_bytes = "1"
log_max_bytes = "1 mb" | stop = { signal = [] } | stop = { signal = 0 } | stop = { signal = "term" }
stop = { signal = true } | stop = { timeout = -1 } | stop = { timeout = 1000001 } | stop = { kill = 1 }
stop = { x = 1 } | stop = "TERM" | ready = { timeout = "5" } | ready = { http = "x" }
ready = { http = "ftp://x" } | ready = { http = "/a b" } | ready = { http = "http://" }
ready = { http = "/", status = 99 } | ready = { http = "/", status = 600 }
ready = { http = "/", status = [] } | ready = { status = 200 } | ready = { body = "x" }
ready = { http = "/", body = "(" } | ready = { log = "" } | ready = { command = [] } | ready = { tcp = 1 }
ready = { http = "/", log = "x" } | ready = { http = "/", command = "x" }
ready = { log = "x", command = "x" } | ready = { tcp = true, http = "/" }
ready = { tcp = true, log = "x" } | ready = { tcp = true, command = "x" } | ready = { interval = 1 }
health = { tcp = true, log = "x" } | health = { log = "x", status = 200 } | health = { interval = 0 }
health = { timeout = 0 } | health = { failures = 0 } | health = { failures = 1001 }
health = { failures = 1.5 } | health = { start_period = -1 } | health = true | restart = { policy = "no" }
restart = { max = -1 } | restart = { max = 1001 } | restart = { window = 0 } | restart = { backoff = -1 }
restart = { max_backoff = true } | restart = { cooldown = "1" } | restart = { memory_above = "1g" }
restart = { max_restarts = 1 }
"""
GOOD = """
port = 1 | port = 65535 | ports = [80] | ports = [80, 81] | instances = 1 | instances = 100 | host = "::1"
host = "0.0.0.0" | cwd = "/x" | cwd = "a b/~" | env = {} | env = { a = "" } | before = []
before = ["x", ["y"]] | patterns = [] | stdin = "null" | listener = "any" | depends_on = []
depends_on = ["db"] | shell = true; command = "a && b" | shell = false; command = ["a"] | log_max_bytes = 1
log_max_bytes = "1.5 GiB" | stop = {} | stop = { signal = 15 } | stop = { signal = ["SIGINT", 9] }
stop = { timeout = 0 } | stop = { timeout = 1000000 } | stop = { kill = false } | ready = {}
ready = { http = "https://x/y?z=1" } | ready = { tcp = false, log = "x" }
ready = { http = "http://x", status = [100, 599], body = "." } | ready = { command = "x", timeout = 0 }
health = {} | health = { interval = 0.1, timeout = 0.1, failures = 1, start_period = 0 }
health = { log = "x" } | restart = { policy = "always" }
restart = { policy = "never", max = 0, backoff = 0, cooldown = 0, memory_above = "1B" }
"""


def fragments(text: str) -> list[str]:
    return [item.strip() for line in text.strip().splitlines() for item in line.split(" | ")]


def service_with(keys: str) -> dict[str, Any]:
    lines = keys.replace("; ", "\n")
    command = "" if "command = " in lines.split("{")[0] else 'command = "serve"\n'
    return tomllib.loads(f'[services.db]\ncommand = "db"\n[services.web]\n{command}{lines}\n')


@pytest.mark.parametrize("keys", fragments(BAD))
def test_both_refuse(keys):
    table = service_with(keys)
    assert problems(table)
    assert not accepted(table)


@pytest.mark.parametrize("keys", fragments(GOOD))
def test_both_accept(keys):
    table = service_with(keys)
    assert problems(table) == ()
    assert accepted(table)


def around(path: tuple[Any, ...]) -> dict[str, Any]:
    """The example without the services that a change at `path` does not concern."""
    if path[0] != "services" or len(path) < 2:
        return FULL
    services = FULL["services"]
    kept = {path[1], *services[path[1]].get("depends_on", ())}
    return {**FULL, "services": {name: service for name, service in services.items() if name in kept}}


@pytest.mark.parametrize("path", list(places(FULL)), ids=lambda path: ".".join(map(str, path)))
def test_they_agree_on_each_value_changed(path):
    table = around(path)
    for value in [
        ...,
        True,
        False,
        -1,
        0,
        1,
        99,
        65536,
        2**70,
        0.5,
        2e6,
        "",
        "x",
        "a\nb",
        "~",
        "8000",
        "(",
        [],
        [1],
        ["x"],
        ["x", "x"],
        {},
        {"x": 1},
    ]:
        agree(changed(table, path, value))


OF_PROCESSES = {
    "shell": False,
    "before": ["seed"],
    "env": {"LEVEL": "info"},
    "env_file": ".env",
    "pid_file": "cache.pid",
    "daemon_pid_file": "cache.pid",
    "log_file": "cache.log",
    "patterns": ["redis"],
    "stdin": "null",
    "listener": "any",
    "restart": {"max": 1},
    "instances": 2,
    "log_max_bytes": "1MiB",
    "limits": {"cpu": 1},
    "data": ["data"],
}


@pytest.mark.parametrize("key", OF_PROCESSES)
def test_they_agree_on_what_a_container_has_not(key):
    agree(changed(FULL, ("services", "cache", key), OF_PROCESSES[key]))


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(list(places(FULL))), values), min_size=1, max_size=3), keys, values)
@example([(("project",), "x")], "unknown", 1)
def test_they_agree_on_tables_with_several_changes(changes, key, value):
    table = copy.deepcopy(FULL)
    for path, new in changes:
        try:
            table = changed(table, path, new)
        except (KeyError, TypeError, IndexError):  # an earlier change took its place away
            continue
    agree(table)
    for name in FULL["services"]:
        if isinstance(table.get("services"), dict) and isinstance(table["services"].get(name), dict):
            agree(changed(table, ("services", name, key), value))
            for small in ("stop", "ready", "health", "restart"):
                if isinstance(table["services"][name].get(small), dict):
                    agree(changed(table, ("services", name, small, key), value))
    agree({**table, key: value})


def test_the_schema_is_in_the_package():
    assert (Path(config.__file__).parent / "schema.json").is_file()
