"""The table as a Project: what is filled in, and what every mistake says."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from devtasks.config import parsing as config
from devtasks.config.parsing import Address, cycles, parse
from devtasks.errors import ConfigError
from devtasks.model import HealthProbe, Project, ReadyProbe, RestartPolicy, Service, StopPolicy

ROOT = Path("/srv/shop")


def project(toml: str, *, root: Path = ROOT, environ: dict[str, str] | None = None, **rest) -> Project:
    table = tomllib.loads(toml)
    return parse(table, root=root, source="pyproject.toml", project_name=None, environ=environ or {}, **rest)


def service(keys: str, **rest) -> Service:
    (only,) = project(f"[services.web]\n{keys}", **rest).services
    return only


def problems(toml: str, **rest) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        project(toml, **rest)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def problem(keys: str, **rest) -> str:
    """The one mistake in the service web, without its place up to there."""
    (only,) = problems(f"[services.web]\n{keys}", **rest)
    assert only.startswith("services.web")
    return only.removeprefix("services.web").removeprefix(".")


class TestDefaults:
    def test_the_smallest_service(self):
        made = service('command = "serve"')
        assert made == Service(
            name="web",
            group="web",
            command=("serve",),
            cwd=ROOT,
            pid_file=ROOT / ".devtasks/web.pid",
            log_file=ROOT / ".devtasks/web.log",
            patterns_derived=True,
        )

    def test_the_project(self):
        made = project("")
        assert made.name == "shop"
        assert made.environment == "development"
        assert not made.production
        assert made.state_dir == ROOT / ".devtasks"
        assert made.services == ()
        assert made.source == "pyproject.toml"
        assert len(made.digest) == 16
        assert set(made.digest) <= set("0123456789abcdef")

    def test_the_package_names_the_project_unless_the_table_does(self):
        def named(table: dict[str, object]) -> str:
            return parse(table, root=ROOT, source="", project_name="package", environ={}).name

        assert named({}) == "package"
        assert named({"project": "mine"}) == "mine"

    def test_the_digest_is_of_the_real_root(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert project("", root=tmp_path / "link").digest == project("", root=tmp_path / "real").digest
        assert project("", root=tmp_path / "link").root == tmp_path.resolve() / "real"
        assert project("", root=tmp_path).digest != project("", root=tmp_path / "real").digest

    def test_the_digest_is_sha256_whichever_library_makes_it(self, monkeypatch):
        expected = hashlib.sha256(b"/srv/\xff").hexdigest()[:16]
        root = Path(os.fsdecode(b"/srv/\xff"))
        assert config.digest(root) == expected
        for module in ("_sha2", "_sha256"):
            monkeypatch.setitem(sys.modules, module, None)
        assert config.digest(root) == expected

    @pytest.mark.parametrize("name", ["", "a\nb", b"\xff".decode("utf-8", "surrogateescape"), "é" * 300])
    def test_any_folder_has_a_name_that_can_be_printed(self, name):
        made = config.folder_name(Path("/srv") / name if name else Path("/"))
        assert made.isprintable()
        assert 0 < len(made) <= 100


class TestEveryKey:
    def test_is_taken_over(self):
        made = project(
            """
            [services.db]
            command = "db"
            [services.web]
            command = ["serve", "two words"]
            cwd = "backend"
            env = { A = "1" }
            env_file = "conf/.env"
            before = ["step one", ["step", "two words"]]
            host = "::1"
            ports = [8000, 8001]
            pid_file = "run/web.pid"
            daemon_pid_file = "/var/x.pid"
            log_file = "../web.log"
            patterns = ["serve( |$)"]
            stdin = "null"
            depends_on = ["db"]
            stop = { signal = ["SIGINT", 3], timeout = 1.5, kill = false }
            ready = { http = "/up", status = 204, body = "ok", timeout = 3 }
            health = { tcp = true, interval = 1, timeout = 0.5, failures = 2, start_period = 9 }
            listener = "any"
            log_max_bytes = "1.5 KiB"
            [services.web.restart]
            policy = "always"
            max = 0
            window = 1
            backoff = 0
            max_backoff = 2
            cooldown = 3
            memory_above = 1
            """
        ).services[1]
        assert made == Service(
            name="web",
            group="web",
            command=("serve", "two words"),
            cwd=ROOT / "backend",
            env={"A": "1"},
            env_file=ROOT / "conf/.env",
            before=(("step", "one"), ("step", "two words")),
            host="::1",
            ports=(8000, 8001),
            pid_file=ROOT / "run/web.pid",
            daemon_pid_file=Path("/var/x.pid"),
            log_file=Path("/srv/web.log"),
            patterns=("serve( |$)",),
            stdin="null",
            depends_on=("db",),
            stop=StopPolicy(signals=("INT", "QUIT"), timeout_seconds=1.5, kill=False),
            ready=ReadyProbe(http="/up", status=(204,), body="ok", timeout_seconds=3),
            health=HealthProbe(
                tcp=True, interval_seconds=1, timeout_seconds=0.5, failures=2, start_period_seconds=9
            ),
            listener="any",
            restart=RestartPolicy(
                policy="always",
                max=0,
                window_seconds=1,
                backoff_seconds=0,
                max_backoff_seconds=2,
                cooldown_seconds=3,
                memory_above_bytes=1,
            ),
            log_max_bytes=1536,
        )

    def test_a_command_is_split_like_a_shell_would(self):
        made = service("""command = '''serve --name "two words" 'a && b' x\\ y # no comment'''""")
        assert made.command == ("serve", "--name", "two words", "a && b", "x y", "#", "no", "comment")
        assert service("command = '''find . -exec touch {} \\;'''").command[-1] == ";"

    def test_two_instances_are_two_already(self):
        made = project('[services.web]\ncommand = "x {port}"\nport = 8000\ninstances = 2').services
        assert [one.name for one in made] == ["web.1", "web.2"]

    def test_a_shell_is_given_the_line_as_it_is(self):
        made = service('command = "cd x && serve --port {port}"\nshell = true\nport = 80')
        assert made.shell
        assert made.command == ("cd x && serve --port 80",)

    def test_no_patterns_are_not_derived_ones(self):
        made = service('command = "x"\npatterns = []')
        assert (made.patterns, made.patterns_derived) == ((), False)

    def test_cwd_is_real_and_need_not_exist(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert service('command = "x"\ncwd = "link"', root=tmp_path).cwd == tmp_path.resolve() / "real"
        assert service('command = "x"\ncwd = "none"', root=tmp_path).cwd == tmp_path.resolve() / "none"

    def test_links_to_files_are_left_to_who_opens_them(self, tmp_path):
        (tmp_path / "link.pid").symlink_to("elsewhere")
        made = service('command = "x"\npid_file = "link.pid"', root=tmp_path)
        assert made.pid_file == tmp_path.resolve() / "link.pid"

    @pytest.mark.parametrize(
        ("written", "size"),
        [
            ("7", 7),
            ('"7B"', 7),
            ('"2KB"', 2000),
            ('"2KiB"', 2048),
            ('"10MiB"', 10 << 20),
            ('"500MB"', 500 * 10**6),
            ('"1GiB"', 1 << 30),
            ('"2 TB"', 2 * 10**12),
            ('"0.5TiB"', 1 << 39),
        ],
    )
    def test_sizes(self, written, size):
        assert service(f'command = "x"\nlog_max_bytes = {written}').log_max_bytes == size


class TestTokens:
    def test_are_replaced_where_they_are_promised(self):
        made = service(
            """
            command = ["serve", "{host}:{port}", "{instance}", "{other}", "{{port}}"]
            before = ["prepare {port}"]
            env = { URL = "http://{host}:{port}/" }
            port = 8000
            pid_file = "{port}.pid"
            daemon_pid_file = "{instance}.pid"
            log_file = "{port}.log"
            ready = { http = "http://{host}:{port}/up" }
            health = { command = "ask {port}" }
            """
        )
        assert made.command == ("serve", "127.0.0.1:8000", "1", "{other}", "{8000}")
        assert made.before == (("prepare", "8000"),)
        assert made.env == {"URL": "http://127.0.0.1:8000/"}
        assert made.pid_file == ROOT / "8000.pid"
        assert made.daemon_pid_file == ROOT / "1.pid"
        assert made.log_file == ROOT / "8000.log"
        assert made.ready.http == "http://127.0.0.1:8000/up"
        assert made.health is not None
        assert made.health.command == ("ask", "8000")

    def test_are_nothing_in_patterns_and_folders(self):
        made = service(
            'command = "x"\nport = 1\npatterns = ["a{host}"]\ncwd = "{port}"\nready = { log = "{port}" }'
        )
        assert made.patterns == ("a{host}",)
        assert made.cwd == ROOT / "{port}"
        assert made.ready.log == "{port}"

    def test_a_folder_with_braces_in_its_name_is_just_a_folder(self):
        made = service('command = "x"\nport = 1\npid_file = "{port}.pid"', root=Path("/srv/{port}"))
        assert made.pid_file == Path("/srv/{port}/1.pid")
        assert made.log_file == Path("/srv/{port}/.devtasks/web.log")

    def test_a_port_is_needed(self):
        for path, keys in {
            "command": 'command = "x {port}"',
            "env": 'command = "x"\nenv = { A = "{port}" }',
            "before[1]": 'command = "x"\nbefore = ["a", "b {port}"]',
            "pid_file": 'command = "x"\npid_file = "{port}"',
            "ready.http": 'command = "x"\nready = { http = "http://h:{port}/" }',
            "health.command": 'command = "x"\nhealth = { command = "{port}" }',
        }.items():
            assert problem(keys) == f"{path}: uses {{port}}, and the service has none; add port"


class TestInstances:
    def test_count_up(self):
        made = project('[services.web]\ncommand = "x {port} {instance}"\nport = 8000\ninstances = 3').services
        assert [one.name for one in made] == ["web.1", "web.2", "web.3"]
        assert {one.group for one in made} == {"web"}
        assert [one.instance for one in made] == [1, 2, 3]
        assert [one.command[1:] for one in made] == [("8000", "1"), ("8001", "2"), ("8002", "3")]
        assert [one.pid_file.name for one in made] == ["web.1.pid", "web.2.pid", "web.3.pid"]
        assert [one.log_file.name for one in made] == ["web.1.log", "web.2.log", "web.3.log"]

    @pytest.mark.parametrize("key", ["pid_file", "daemon_pid_file", "log_file"])
    def test_do_not_share_a_file(self, key):
        assert problem(f'command = "x"\ninstances = 2\n{key} = "a"').startswith(
            f"{key}: 2 instances would share it"
        )
        made = project(f'[services.web]\ncommand = "x"\ninstances = 2\n{key} = "a{{instance}}"').services
        assert [getattr(one, key) for one in made] == [ROOT / "a1", ROOT / "a2"]

    def test_do_not_share_a_port(self):
        keys = 'command = "x {port}"\ninstances = 2\nports = '
        assert problem(keys + "[8000, 8001]").startswith("ports: ports count up, and 2 instances would share some")
        assert problem(keys + "[8000, 65535]").startswith("ports: instance 2 would need port 65536")
        assert problem('command = "x"\ninstances = 2\nport = 8000').startswith("command: its 2 instances would")


class TestPrecedence:
    KEYS = '[services.foo-bar]\ncommand = "x {host} {port}"\nport = 8000\n[services.db]\ncommand = "y"'

    def test_a_flag_before_a_variable_before_the_file(self):
        variables = {"DEVTASKS_FOO_BAR_PORT": " 9000 ", "DEVTASKS_FOO_BAR_HOST": "0.0.0.0"}
        assert project(self.KEYS).services[0].command == ("x", "127.0.0.1", "8000")
        assert project(self.KEYS, environ=variables).services[0].command == ("x", "0.0.0.0", "9000")
        flags = {"foo-bar": Address(port=9100)}
        made = project(self.KEYS, environ=variables, addresses=flags).services
        assert made[0].command == ("x", "0.0.0.0", "9100")
        assert (made[0].host, made[0].ports) == ("0.0.0.0", (9100,))
        assert made[1].ports == ()

    def test_the_first_of_several_ports_is_replaced(self):
        keys = '[services.web]\ncommand = "x"\nports = [1, 2]'
        assert project(keys, addresses={"web": Address(port=5)}).services[0].ports == (5, 2)
        assert problems(keys, addresses={"web": Address(port=2)}) == [
            "services.web.ports: 2 would be there twice; choose another first port"
        ]

    @pytest.mark.parametrize("port", ["abc", "0", "65536", "８０", "1_0", "+5", "9" * 5000])  # noqa: RUF001
    def test_a_variable_is_checked(self, port):
        (only,) = problems(self.KEYS, environ={"DEVTASKS_FOO_BAR_PORT": port})
        assert only.startswith("DEVTASKS_FOO_BAR_PORT: must be a whole number from 1 to 65535, not ")
        assert len(only) < 200

    def test_an_empty_variable_does_not_count(self):
        names = ("DEVTASKS_FOO_BAR_PORT", "DEVTASKS_FOO_BAR_HOST", "DEVTASKS_STATE_DIR", "ENVIRONMENT")
        assert project(self.KEYS, environ=dict.fromkeys(names, " ")) == project(self.KEYS)

    def test_state_dir(self):
        assert project('state_dir = "x"').state_dir == ROOT / "x"
        assert project('state_dir = "x"', environ={"DEVTASKS_STATE_DIR": "/run/y"}).state_dir == Path("/run/y")

    @pytest.mark.parametrize("path", [".", "..", "/srv", "/", "x/.."])
    def test_state_dir_is_a_folder_of_its_own(self, path):
        assert problems(f'state_dir = "{path}"')[0].startswith("state_dir: ")
        assert problems("", environ={"DEVTASKS_STATE_DIR": path})[0].startswith("DEVTASKS_STATE_DIR: ")

    def test_environment(self):
        assert project('environment = " Production "').production
        assert project('environment = "production"', environ={"ENVIRONMENT": " Test "}).environment == "test"
        assert project("", environ={"ENVIRONMENT": "PROD"}).production


class TestMistakes:
    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ("", "command: is missing; write the program"),
            ('command = ""', "command: must not be empty"),
            ('command = "  "', "command: must not be empty"),
            ("command = []", "command: must not be empty"),
            ('command = ["", "x"]', "command: must not be empty"),
            ('command = ["x", 1]', 'command[1]: must be a string, not the number 1; write "1"'),
            ("command = 3", "command: must be a string or an array of strings, not the number 3"),
            ('''command = "say 'hello"''', 'command: "say \'hello" cannot be split: no closing quotation'),
            ('command = "A=1 serve"', 'command: "A=1" sets a variable, which takes a shell'),
            ('command = "cd x && serve"', "command: && takes a shell"),
            ('command = "x\\u0000"', "command: holds a NUL character"),
            ('command = ["x"]\nshell = true', "command: must be a string: shell = true hands it to sh"),
        ],
    )
    def test_of_the_command(self, keys, message):
        assert problem(keys).startswith(message)

    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ('comand = "x"', 'comand: unknown key; did you mean "command"?'),
            ("port = true", "port: must be a whole number from 1 to 65535, not true"),
            (
                'port = "8000"',
                'port: must be a whole number from 1 to 65535, not the string "8000"; remove the quotes',
            ),
            ("port = 8000.0", "port: must be a whole number from 1 to 65535, not the number 8000.0"),
            ("port = 0", "port: must be a whole number from 1 to 65535, not the number 0"),
            ("port = 65536", "port: must be a whole number from 1 to 65535, not the number 65536"),
            (f"port = {'9' * 400}", "port: must be a whole number from 1 to 65535, not a number that large"),
            ("ports = []", "ports: must not be empty"),
            ("ports = 80", "ports: must be an array, not the number 80; put it in [ ]"),
            ("ports = [80, 80]", "ports[1]: the number 80 is there twice; remove one"),
            ("port = 1\nports = [2]", "ports: port is given too"),
            ('shell = "true"', 'shell: must be true or false, not the string "true"; remove the quotes'),
            ('cwd = ""', "cwd: must be a path"),
            ('cwd = "~/x"', "cwd: must be a path"),
            ('host = "a b"', "host: must be a host name"),
            ('host = "-x"', "host: must be a host name"),
            ('host = "h\\n"', "host: must be a host name"),
            ("env = { A = 1 }", 'env.A: must be a string, not the number 1; write "1"'),
            ("env = { DEVTASKS_ID = 'x' }", "env.DEVTASKS_ID: DEVTASKS_* marks what devtasks starts; remove it"),
            ("env = { 'A B' = 'x' }", 'env."A B": is not a variable\'s name'),
            ("env = { '' = 'x' }", 'env."": is not a variable\'s name'),
            ('env = "A=1"', "env: must be a table, not the string"),
            ('before = "x"', 'before: must be an array, not the string "x"; put it in [ ]'),
            ('patterns = ["("]', 'patterns[0]: "(" is not a regular expression: '),
            ('patterns = [""]', "patterns[0]: must not be empty"),
            ('patterns = ["x", ".*"]', 'patterns[1]: ".*" matches every program'),
            ('stdin = "opn"', 'stdin: must be "open" or "null", not the string "opn"'),
            ("listener = ['any']", 'listener: must be "ours" or "any", not an array'),
            ('depends_on = ["wob"]', 'depends_on: no service is called "wob"; did you mean "web"?'),
            ('depends_on = ["web"]', "depends_on: goes round in a circle, web -> web; remove one of these"),
            ("instances = 101", "instances: must be a whole number from 1 to 100"),
            ('log_max_bytes = "10M"', "log_max_bytes: must be a size above 0"),
            ('log_max_bytes = "0MB"', "log_max_bytes: must be a size above 0"),
            ("log_max_bytes = true", "log_max_bytes: must be a size above 0"),
            ("log_max_bytes = -1", "log_max_bytes: must be a size above 0"),
            ('stop = { signal = "SIGTREM" }', 'stop.signal: no signal is called "SIGTREM"; did you mean "TERM"?'),
            ("stop = { signal = 99 }", "stop.signal: must be a signal of this system, not the number 99"),
            ("stop = { signal = true }", "stop.signal: must be a string, not true"),
            ('stop = { signal = "STOP" }', "stop.signal: STOP cannot make a process end"),
            ("stop = { signal = [] }", "stop.signal: must not be empty"),
            ('stop = "TERM"', 'stop: must be a table, not the string "TERM"'),
            ("stop = { timeout = nan }", "stop.timeout: must be a number of seconds from 0 to 1000000, not"),
            ("stop = { timeout = inf }", "stop.timeout: must be a number of seconds"),
            ("stop = { timeout = -0.1 }", "stop.timeout: must be a number of seconds"),
            ("stop = { timeout = true }", "stop.timeout: must be a number of seconds"),
            (
                'stop = { timeout = "5s" }',
                "stop.timeout: must be a number of seconds from 0 to 1000000, not the string",
            ),
            ('ready = { http = "/", log = "x" }', "ready.log: http is asked already"),
            ('ready = { tcp = true, command = "x" }', "ready.command: tcp is asked already"),
            ("ready = { status = 200 }", "ready.status: is about an HTTP answer"),
            ('ready = { http = "/", status = 99 }', "ready.status: must be a whole number from 100 to 599"),
            ('ready = { http = "health" }', 'ready.http: must be a path like "/health"'),
            ('ready = { log = "(" }', 'ready.log: "(" is not a regular expression'),
            ("ready = { interval = 1 }", "ready.interval: unknown key"),
            ("health = { interval = 0 }", "health.interval: must be a number of seconds above 0, up to 1000000"),
            ('restart = { policy = "no" }', 'restart.policy: must be "always" or "on-failure" or "never"'),
            ("restart = { backoff = 100 }", "restart.backoff: 100 seconds exceed max_backoff, 60"),
        ],
    )
    def test_of_one_key(self, key, message):
        port = "" if key.startswith("port") else "port = 7000\n"
        assert problem(f'command = "x"\n{port}{key}').startswith(message)

    @pytest.mark.parametrize(
        "url", ["http://h:99999/", "http://h:0/", "http://[::1/", "http://u@h/", "https://?x"]
    )
    def test_a_probe_of_a_url_that_leads_nowhere(self, url):
        assert problem(f'command = "x"\nhealth = {{ http = "{url}" }}').startswith(
            f'health.http: "{url}" leads nowhere; write http://HOST:PORT/PATH'
        )
        keys = 'command = "x {port}"\nport = 8000\nhost = "::1"\ninstances = 2\n'
        assert problem(keys + 'ready = { http = "http://{host}:{port}/" }') == (
            'ready.http: "http://::1:8000/" leads nowhere; write http://HOST:PORT/PATH'
        )
        assert project(f'[services.web]\n{keys}ready = {{ http = "https://[{{host}}]:{{port}}/x?y=z" }}')

    @pytest.mark.parametrize("probe", ['http = "/"', "tcp = true"])
    def test_a_probe_of_no_port(self, probe):
        assert "asks the service's port, and it has none; add port" in problem(
            f'command = "x"\nready = {{ {probe} }}'
        )

    @pytest.mark.parametrize(
        ("toml", "message"),
        [
            ('services = ["web"]', "services: must be a table, not an array"),
            ("services.web = 1", "services.web: must be a table, not the number 1"),
            ('[services.Web]\ncommand = "x"', "services.Web: must be the name of a service"),
            ('[services."a b"]\ncommand = "x"', 'services."a b": must be the name of a service'),
            ('projct = "x"', 'projct: unknown key; did you mean "project"?'),
            ('"\\u001b[2J" = 1', '"\\x1b[2J": unknown key'),
            ('project = "\\u001b[2J"', 'project: must be printable text, and not blank, not "\\x1b[2J"'),
            (f'project = "{"x" * 101}"', "project: must have at most 100 characters, not 101"),
            ('environment = " "', "environment: must be printable text, and not blank"),
        ],
    )
    def test_of_the_top(self, toml, message):
        (only,) = problems(toml)
        assert only.startswith(message)

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ("port = 8000", "services.b.port: 8000 is the port of a too; choose another"),
            ("ports = [1, 8000]", "services.b.ports: 8000 is the port of a too; choose another"),
            ('pid_file = "a.pid"', "services.b.pid_file: is also the pid_file of a; choose another"),
            ('log_file = "./x/../a.log"', "services.b.log_file: is also the log_file of a; choose another"),
            ('log_file = "a.pid"', "services.b.log_file: is also the pid_file of a; choose another"),
            ('log_file = "y"\npid_file = "y"', "services.b.log_file: is also the pid_file of b; choose another"),
        ],
    )
    def test_what_two_services_would_share(self, keys, message):
        first = '[services.a]\ncommand = "x"\nport = 8000\npid_file = "a.pid"\nlog_file = "a.log"\n'
        assert problems(f'{first}[services.b]\ncommand = "x"\n{keys}') == [message]

    def test_a_port_is_shared_with_an_instance(self):
        found = problems(
            '[services.a]\ncommand = "x {port}"\nport = 1\ninstances = 3\n[services.b]\ncommand = "x"\nport = 2'
        )
        assert found == ["services.b.port: 2 is the port of a.2 too; choose another"]

    def test_all_are_told_at_once_and_none_twice(self):
        found = problems(
            """
            projct = "x"
            [services.a]
            port = "8000"
            ready = { tcp = true }
            depends_on = ["b"]
            [services.b]
            command = "b {port}"
            depends_on = ["a", "c"]
            """
        )
        assert sorted(line.split(": ")[0] for line in found) == [
            "projct",
            "services.a.command",
            "services.a.depends_on",
            "services.a.port",
            "services.b.command",
            "services.b.depends_on",
        ]

    def test_the_heading_counts_them(self):
        with pytest.raises(ConfigError) as caught:
            project("a = 1\nb = 2")
        lines = str(caught.value).splitlines()
        assert lines[0] == "pyproject.toml: 2 mistakes"
        assert all(line.startswith("  ") for line in lines[1:])

    def test_a_message_is_short_and_printable_whatever_was_written(self):
        for line in problems(
            f'[services.web]\ncommand = "x"\nhost = "\\u001b{"y" * 5000}"\nstdin = "{"z" * 5000}"'
        ):
            assert len(line) < 300
            assert line.isprintable()

    def test_a_regex_that_python_warns_of_is_taken(self):
        assert service('command = "x"\npatterns = ["[[a]x"]').patterns == ("[[a]x",)


class TestCycles:
    def test_each_is_found_once(self):
        graph = {"a": ("b",), "b": ("a", "x"), "c": ("d", "a"), "d": ("e",), "e": ("c",), "f": ("a",), "g": ()}
        assert {frozenset(cycle) for cycle in cycles(graph)} == {frozenset("ab"), frozenset("cde")}

    def test_no_cycle_in_a_long_chain(self):
        assert not list(cycles({str(n): (str(n + 1),) for n in range(2000)}))


def test_reading_costs_no_library_that_is_not_needed():
    """What is imported is what a command costs."""
    code = (
        "import sys; before = set(sys.modules); import devtasks.config.loading, devtasks.config.parsing;"
        "costly = {'tomllib', 'json', 'difflib', 'hashlib', 'jsonschema', 'graphlib', 'socket'};"
        "print(*sorted(costly & (set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(config.__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": str(Path(config.__file__).parent.parent)},
    )
    assert done.stdout.split() == []
