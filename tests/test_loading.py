"""Where the configuration is found, and what is left of it when it is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devtasks.config import loading
from devtasks.config.loading import find_root, load, service_names, with_address
from devtasks.errors import ConfigError, UsageError

SOURCES = str(Path(loading.__file__).parent.parent)
PACKAGE = '[project]\nname = "package"\n'
TABLE = '[tool.devtasks]\n[tool.devtasks.services.web]\ncommand = "serve {host} {port}"\nport = 8000\n'
OWN = '[services.web]\ncommand = "serve"\n'
DEEP = f"[tool.devtasks]\na = {'[' * 5000}"


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path.resolve()


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, {})
    return list(caught.value.problems)


class TestRoot:
    @pytest.mark.parametrize(
        "text",
        [
            TABLE,
            "[tool.devtasks]",
            "[tool]\ndevtasks = {}",
            "tool.devtasks.project = 'x'",
            "[ tool . 'devtasks' ]",
            "[tool]\ndevtasks = 3",
            # Broken, and yet ours:
            "[tool.devtasks]\nproject = ",
            "x = \n[ tool.devtasks.services.web ]",
            "x = \ntool.devtasks.project = 'x'",
            DEEP,
        ],
    )
    def test_is_where_the_table_is(self, root, text):
        (root / "pyproject.toml").write_text(text)
        (root / "a/b").mkdir(parents=True)
        (root / "a/pyproject.toml").write_text(PACKAGE)
        assert find_root(root / "a/b") == root
        assert find_root(root) == root

    @pytest.mark.parametrize(
        "text",
        [
            PACKAGE,
            "",
            '[project]\ndependencies = ["devtasks"]',
            '# [tool.devtasks]\ndescription = "[tool.devtasks]"',
            "[tool.devtasks-extra]",
            "[tool]\ndevtasksy = 1",
            # Broken, and not ours:
            "# [tool.devtasks]\nx = ",
            "x = \n[tool.other]\ny = 'tool.devtasks'",
            "devtasks = ",
            "[tool.devtasks-extra]\nx = ",
        ],
    )
    def test_is_not_where_it_is_not(self, root, text):
        (root / "devtasks.toml").write_text(OWN)
        inner = root / "inner"
        inner.mkdir()
        (inner / "pyproject.toml").write_text(text)
        assert find_root(inner) == root

    def test_a_file_of_our_own(self, root):
        (root / "a").mkdir()
        assert find_root(root / "a") is None
        (root / "devtasks.toml").touch()
        assert find_root(root / "a") == root

    def test_is_real(self, root):
        (root / "real/in").mkdir(parents=True)
        (root / "real/devtasks.toml").touch()
        (root / "link").symlink_to("real/in")
        assert find_root(root / "link") == root / "real"

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
    def test_what_is_no_file_is_passed_by(self, root, make):
        make(root / "pyproject.toml")
        assert find_root(root) is None


class TestLoad:
    def test_the_table_of_pyproject(self, root):
        (root / "pyproject.toml").write_text(PACKAGE + TABLE)
        project = load(root, {})
        assert (project.name, project.root, project.source) == ("package", root, "pyproject.toml")
        assert [service.name for service in project.services] == ["web"]

    def test_the_table_of_our_own_file_beside_a_package(self, root):
        (root / "pyproject.toml").write_text(PACKAGE)
        (root / "devtasks.toml").write_text(OWN)
        project = load(root, {})
        assert (project.name, project.source) == ("package", "devtasks.toml")
        assert project.services[0].command == ("serve",)

    def test_the_folder_names_what_nothing_else_does(self, root):
        (root / "devtasks.toml").write_text(OWN)
        for name in ("3", '""', '"\\u001b[2J"', f'"{"x" * 200}"', '["x"]'):
            (root / "pyproject.toml").write_text(f"[project]\nname = {name}")
            assert load(root, {}).name == root.name
        (root / "pyproject.toml").write_text("broken = ")
        assert load(root, {}).name == root.name

    def test_both_tables_are_one_too_many(self, root):
        (root / "pyproject.toml").write_text(TABLE)
        (root / "devtasks.toml").write_text(OWN)
        (only,) = problems(root)
        assert str(root / "pyproject.toml") in only
        assert str(root / "devtasks.toml") in only

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("[tool.devtasks]\nx = ", ":2: not TOML: invalid value"),
            ("[tool.devtasks]\n\nx = 1\nx = 2\n", ":4: not TOML: cannot overwrite a value"),
            ("[tool.devtasks]\nx = '''\n\n", ":4: not TOML: expected "),
            (DEEP, ": not TOML: "),
            (f"[tool.devtasks]\nx = {'9' * 5000}", ": not TOML: "),
        ],
    )
    def test_what_is_no_toml_is_told_with_its_line(self, root, text, line):
        (root / "pyproject.toml").write_text(text)
        (only,) = problems(root)
        assert only.startswith(f"{root / 'pyproject.toml'}{line}")
        own = root / "devtasks.toml"
        (root / "pyproject.toml").rename(own)
        assert problems(root)[0].startswith(f"{own}{line}")

    def test_what_is_not_utf_8_is_told_with_its_line(self, root):
        (root / "pyproject.toml").write_bytes(b"[tool.devtasks]\nproject = '\xff'")
        assert problems(root) == [f"{root}/pyproject.toml:2: not UTF-8; save the file as UTF-8"]

    def test_the_broken_file_of_other_tools_is_their_business(self, root):
        (root / "pyproject.toml").write_bytes(b"x = \xff")
        assert load(root, {}).services == ()

    def test_a_table_that_is_none(self, root):
        (root / "pyproject.toml").write_text("[tool]\ndevtasks = 3")
        assert problems(root) == ["tool.devtasks: must be a table; write [tool.devtasks]"]

    @pytest.mark.parametrize("file", ["pyproject.toml", "devtasks.toml"])
    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
    def test_what_is_no_file_does_not_hang(self, root, file, make):
        make(root / file)
        assert problems(root) == [f"{root / file}: cannot be read: not a regular file"]

    @pytest.mark.parametrize("file", ["pyproject.toml", "devtasks.toml"])
    def test_a_file_that_may_not_be_read(self, root, file):
        """Root may read everything, so it becomes somebody else, who need not reach the folder by its path."""
        (root / file).write_text(TABLE)
        (root / file).chmod(0)
        root.chmod(0o755)
        code = (
            "import os\n"
            "from pathlib import Path\n"
            "from devtasks import errors\nfrom devtasks.config import loading\n"
            "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "try: loading._read_folder(Path())\n"
            "except errors.ConfigError as error: print(*error.problems)\n"
        )
        environ = {**os.environ, "PYTHONPATH": SOURCES}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ, cwd=root
        )
        assert done.stdout == f"{file}: cannot be read: permission denied\n"


class TestInference:
    def test_fills_in_where_there_is_nothing(self, root):
        (root / "Procfile").write_text("web: python -m http.server 8123\n")
        project = load(root, {})
        assert [service.name for service in project.services] == ["web"]
        assert project.source == "inferred from Procfile"

    @pytest.mark.parametrize(
        "text", ['[tool.devtasks]\nproject = "mine"', '[tool.devtasks]\nproject = "mine"\nservices = {}']
    )
    def test_fills_in_the_services_of_a_table_without_any(self, root, text):
        (root / "Procfile").write_text("web: python -m http.server 8123\n")
        (root / "pyproject.toml").write_text(text)
        project = load(root, {})
        assert project.name == "mine"
        assert [service.name for service in project.services] == ["web"]
        assert project.source == "pyproject.toml; services inferred from Procfile"

    def test_leaves_alone_what_is_declared(self, root):
        (root / "Procfile").write_text("api: python -m http.server 8123\n")
        (root / "devtasks.toml").write_text(OWN)
        assert [service.name for service in load(root, {}).services] == ["web"]

    def test_of_nothing_is_a_project_without_services(self, root):
        project = load(root, {})
        assert (project.name, project.services) == (root.name, ())
        (root / "devtasks.toml").touch()
        assert load(root, {}).source == "devtasks.toml"


class TestAddress:
    @pytest.fixture
    def project(self, root):
        (root / "pyproject.toml").write_text(TABLE + '[tool.devtasks.services.api]\ncommand = "api"\n')
        return load(root, {})

    def test_a_flag_reaches_command_and_ports(self, project):
        changed = with_address(project, ["web"], host="::1", port=9000, environ={"DEVTASKS_WEB_PORT": "1"})
        assert changed.services[0].command == ("serve", "::1", "9000")
        assert changed.services[0].port == 9000
        assert changed.services[1] == project.services[1]

    def test_a_host_may_be_for_several(self, project):
        changed = with_address(project, ["web", "api"], host="0.0.0.0", environ={})
        assert {service.host for service in changed.services} == {"0.0.0.0"}

    @pytest.mark.parametrize("names", [[], ["web", "api"]])
    def test_a_port_is_for_one(self, project, names):
        with pytest.raises(UsageError, match="--port is for one service"):
            with_address(project, names, port=1, environ={})

    def test_an_unknown_name(self, project):
        with pytest.raises(UsageError, match='no service is called "wbe"; did you mean "web"'):
            with_address(project, ["wbe"], host="x", environ={})

    def test_what_cannot_be_an_address(self, project):
        with pytest.raises(
            UsageError, match="--port must be a whole number from 1 to 65535, not the number 70000"
        ):
            with_address(project, ["web"], port=70000, environ={})
        with pytest.raises(UsageError, match=r'--host must be a host name .*, not "a b"'):
            with_address(project, ["web"], host="a b", environ={})


class TestNames:
    def test_of_a_table(self, root):
        (root / "devtasks.toml").write_text(
            '[services.web]\nwrong = 1\n[services.api]\n[services.Bad]\n[services."a b"]\n'
        )
        assert service_names(root) == ("web", "api")

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("devtasks.toml", "[services.web]\ncommand = \n[services.api]\n[ services.web.stop ]"),
            ("pyproject.toml", "[tool.devtasks.services.web]\ncommand = \n[tool.devtasks.services.api]"),
            ("pyproject.toml", "[tool.devtasks.services.web]\n[tool.devtasks.services.api.stop]\nx = 1\nx = 2"),
        ],
    )
    def test_of_a_broken_file_are_those_of_its_headers(self, root, file, text):
        (root / file).write_text(text)
        assert service_names(root) == ("web", "api")

    def test_of_two_tables_are_all(self, root):
        (root / "pyproject.toml").write_text(TABLE)
        (root / "devtasks.toml").write_text('[services.api]\ncommand = "x"')
        assert service_names(root) == ("api", "web")

    def test_are_inferred_where_there_is_no_table(self, root):
        (root / "Procfile").write_text("web: python -m http.server 8123\n")
        assert service_names(root) == ("web",)

    @pytest.mark.parametrize(
        "content",
        [
            b"\xff",
            b"[tool.devtasks]\nservices = 3",
            b"[tool.devtasks]\nservices = ['web']",
            b"tool = 3",
            DEEP.encode(),
            b"[tool]\ndevtasks = 'x'",
            b"[tool.devtasks]\nx = " + b"9" * 5000,
            b"\x00" * 100,
            b"[project]\ntool.devtasks = 1",
        ],
    )
    def test_nothing_raises(self, root, content):
        for file in ("pyproject.toml", "devtasks.toml"):
            (root / file).write_bytes(content)
            assert service_names(root) == ()
            (root / file).unlink()

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
    def test_nothing_hangs(self, root, make):
        make(root / "pyproject.toml")
        make(root / "devtasks.toml")
        assert service_names(root) == ()
        assert service_names(root / "missing") == ()

    def test_cost_no_toml_where_the_package_never_says_devtasks(self, root):
        (root / "pyproject.toml").write_text(PACKAGE)
        code = (
            "import sys; from pathlib import Path; from devtasks.config.loading import find_root, _read_folder;"
            "folder = Path(sys.argv[1]); find_root(folder); _read_folder(folder, name_wanted=False);"
            "print('tomllib' in sys.modules)"
        )
        environ = {**os.environ, "PYTHONPATH": SOURCES}
        done = subprocess.run(
            [sys.executable, "-c", code, root], capture_output=True, text=True, check=True, env=environ
        )
        assert done.stdout == "False\n"
