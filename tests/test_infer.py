"""What is inferred from which files; that the commands start is shown in test_layouts.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devtasks.config import parsing as config
from devtasks.config.readers import SERVICE_NAME
from devtasks.inferring import Inference, infer, ports
from devtasks.inferring.procfile import service_name
from devtasks.inferring.tree import Port, Tree

FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
FACTORY = "import fastapi\ndef build():\n  return fastapi.FastAPI()"
FLASK = "import flask\n{} = flask.Flask('x')"
FLASK_RUN = "flask --app {} run --debug --host {{host}} --port {{port}}"
QUART = "from quart import Quart\napp = Quart('x')"
DJANGO = "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()"
UVICORN = "uvicorn {} --reload --host {{host}} --port {{port}}"


def project(root: Path, files: dict[str, str | dict[str, Any]]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


def look(root: Path, files: dict[str, str | dict[str, Any]]) -> Inference:
    inference = infer(project(root, files))
    config.parse(inference.table, root=root, source=inference.source, project_name=None, environ={})
    return inference


def services(root: Path, files: dict[str, str | dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = look(root, files).table.get("services", {})
    return found


def backend(root: Path, files: dict[str, str | dict[str, Any]]) -> dict[str, Any]:
    found = services(root, files)
    assert list(found) == ["backend"], found
    keys: dict[str, Any] = found["backend"]
    return keys


def scripts(**named: str) -> dict[str, Any]:
    return {"name": "x", "scripts": named}


def test_nothing_is_inferred_from_nothing(tmp_path: Path) -> None:
    assert infer(tmp_path) == Inference(table={}, source="nothing inferred", reasons=(), notes=())
    assert infer(tmp_path / "missing").table == {}


def test_source_and_reasons_name_the_files(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        {"backend/main.py": FASTAPI, "frontend/package.json": scripts(dev="vite"), "frontend/pnpm-lock.yaml": ""},
    )
    assert found.source == "inferred from backend/main.py and frontend/package.json"
    assert found.reasons == (
        ("backend", "from backend/main.py: FastAPI app `app`"),
        ("frontend", "from frontend/package.json: dev script, frontend/pnpm-lock.yaml"),
    )
    assert found.table["services"]["frontend"] == {"command": "pnpm run dev", "cwd": "frontend", "port": 5173}


def test_project_code_is_never_run(tmp_path: Path) -> None:
    bomb = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    files = {"main.py": bomb + FASTAPI, "app/__init__.py": bomb, "sitecustomize.py": bomb, "ast.py": bomb}
    assert backend(tmp_path, dict(files))["port"] == 8000
    assert not (tmp_path / "ran").exists()


# --- Procfile ----------------------------------------------------------------------------------------


def test_procfile_dev_wins_and_is_the_whole_answer(tmp_path: Path) -> None:
    files = {"Procfile.dev": "api: ./serve\n", "Procfile": "web: gunicorn x:y\n", "main.py": FASTAPI}
    found = look(tmp_path, dict(files))
    assert list(found.table["services"]) == ["api"]
    assert found.source == "inferred from Procfile.dev"


@pytest.mark.parametrize(
    ("line", "keys"),
    [
        ("web: ./serve", {"command": "./serve"}),
        ("web: ./serve --port $PORT", {"command": "./serve --port $PORT", "shell": True, "port": 5000}),
        ("web: ./serve -b 0.0.0.0:${PORT:-80}", {"shell": True, "port": 5000}),
        ("web: ./serve $PORTS", {"shell": True, "port": None}),
        ("web: ./serve --port 7000", {"port": 7000, "env": {"PORT": "5000"}}),
        ("web: DEBUG=1 NAME='a b' ./serve x", {"command": "./serve x", "env": {"DEBUG": "1", "NAME": "a b"}}),
        ("web: PORT=4000 ./serve", {"command": "./serve", "env": {"PORT": "4000"}}),
        ("web: exec ./serve 'a b'", {"command": "./serve 'a b'", "shell": None}),
        ("web: exec A=1 ./x", {"command": "exec A=1 ./x", "shell": True}),
        ("web: ./a && ./b", {"command": "./a && ./b", "shell": True}),
        ("web: ./a | tee log", {"shell": True}),
        ("web: ./a 2>&1 >log", {"shell": True}),
        ("web: ./a '$5 & more'", {"shell": None}),
        ("web: source .env.sh", {"shell": True}),
        ("web: uvicorn main:app", {"port": 8000}),
        ("web: gunicorn main:app", {"port": 5000, "env": {"PORT": "{port}"}}),
        ("web: gunicorn -b :8001 main:app", {"port": 8001}),
        ("web: bundle exec rails server -p 3001", {"port": 3001}),
        ("web: bin/rails s", {"port": 5000}),
        ("web: python manage.py runserver 0.0.0.0:8002", {"port": 8002}),
        ("web: poetry run python manage.py runserver", {"port": 8000}),
        ("web: python -m http.server 8003", {"port": 8003}),
        ("web: python3 worker.py", {"port": None}),
        ("web: psql --port 5432", {"port": None}),
        ("web: ssh -p 2222 host", {"port": None}),
        ("web: ./serve --port 99999", {"port": None}),
        ("web: ./serve --port ٣", {"port": None}),
    ],
)
def test_procfile_lines(tmp_path: Path, line: str, keys: dict[str, Any]) -> None:
    found = services(tmp_path, {"Procfile": line})["web"]
    expected_env = {"PORT": "{port}" if found.get("port") == 5000 else "5000"} | keys.pop("env", {})
    assert found["env"] == expected_env
    assert {key: found.get(key) for key in keys} == keys


def test_procfile_ports_count_up_from_that_of_the_env_file(tmp_path: Path) -> None:
    found = services(tmp_path, {"Procfile": "a: x $PORT\nb: x\nc: x $PORT\n", ".env": 'export PORT="7000"\n'})
    assert [keys.get("port") for keys in found.values()] == [7000, None, 7200]
    assert [keys["env"]["PORT"] for keys in found.values()] == ["{port}", "7100", "{port}"]
    assert all(keys["env_file"] == ".env" for keys in found.values())


def test_there_is_no_port_above_the_last(tmp_path: Path) -> None:
    found = services(tmp_path, {"Procfile": "a: x $PORT\nb: x $PORT\n", ".env": "PORT=65500\n"})
    assert [keys.get("port") for keys in found.values()] == [65500, None]
    assert "env" not in found["b"]


def test_procfile_into_a_folder(tmp_path: Path) -> None:
    files = {
        "Procfile.dev": "web: cd client && npm run dev\napi: cd missing && ./x\nup: cd .. && ./x\n",
        "client/package.json": scripts(dev="vite --port 3100"),
    }
    found = services(tmp_path, dict(files))
    assert found["web"]["command"] == "npm run dev"
    assert (found["web"]["cwd"], found["web"]["port"]) == ("client", 3100)
    assert found["api"]["command"] == "cd missing && ./x"
    assert found["up"]["command"] == "cd .. && ./x"


def test_what_a_procfile_gets_wrong_is_noted(tmp_path: Path) -> None:
    refused = (
        "WEB: ./b",
        "no colon",
        "bad: 'x",
        "release: migrate",
        "self: exec inv start",
        "empty:",
        "a: x {port}",
        "b: DEVTASKS_ID=1 x",
    )
    text = "\n".join(("# c", "", "web: ./a", *refused))
    found = look(tmp_path, {"Procfile": text})
    assert list(found.table["services"]) == ["web"]
    assert [note.partition(":")[0] for note in found.notes] == [f"Procfile line {n}" for n in range(4, 12)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("web", "web"), ("Web_1", "web-1"), ("1st", "process-1st"), ("-_-", "process"), ("a--b", "a-b")],
)
def test_service_names(name: str, expected: str) -> None:
    assert service_name(name) == expected
    assert re.search(SERVICE_NAME, expected)


# --- Python ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "command", "cwd"),
    [
        ({"main.py": FASTAPI}, UVICORN.format("main:app"), None),
        ({"main.py": "import fastapi as f\napi = f.FastAPI()"}, UVICORN.format("main:api"), None),
        ({"main.py": "from fastapi import FastAPI as F\napp: F = F()"}, UVICORN.format("main:app"), None),
        ({"main.py": "if True:\n  import fastapi as f\n  app = f.FastAPI()"}, UVICORN.format("main:app"), None),
        ({"main.py": "from litestar import Litestar\napp = Litestar([])"}, UVICORN.format("main:app"), None),
        ({"asgi.py": "async def app(scope, receive, send): ..."}, UVICORN.format("asgi:app"), None),
        ({"app/main.py": FASTAPI}, UVICORN.format("app.main:app"), None),
        ({"src/main.py": FASTAPI}, UVICORN.format("main:app --app-dir src"), None),
        ({"src/main.py": "import src.db\n" + FASTAPI, "src/db.py": ""}, UVICORN.format("src.main:app"), None),
        ({"src/main.py": "from .db import x\n" + FASTAPI, "src/db.py": ""}, UVICORN.format("src.main:app"), None),
        ({"src/shop/main.py": FASTAPI}, UVICORN.format("shop.main:app --app-dir src"), None),
        ({"shop/main.py": FASTAPI, "shop/__init__.py": ""}, UVICORN.format("shop.main:app"), None),
        ({"shop/__init__.py": FASTAPI}, UVICORN.format("shop:app"), None),
        ({"backend/main.py": FASTAPI}, UVICORN.format("main:app"), "backend"),
        ({"backend/app/main.py": FASTAPI}, UVICORN.format("app.main:app"), "backend"),
        ({"backend/src/main.py": FASTAPI}, UVICORN.format("main:app --app-dir src"), "backend"),
        ({"apps/api/main.py": FASTAPI}, UVICORN.format("main:app"), "apps/api"),
        ({"backend/main.py": "from . import db\n" + FASTAPI}, UVICORN.format("backend.main:app"), None),
        (
            {"backend/main.py": "from backend import db\n" + FASTAPI, "backend/db.py": ""},
            UVICORN.format("backend.main:app"),
            None,
        ),
        (
            {"app/main.py": "from routers import x\n" + FASTAPI, "app/routers/__init__.py": ""},
            UVICORN.format("main:app --app-dir app"),
            None,
        ),
        (
            {"main.py": "from fastapi import FastAPI\ndef create_app(debug=False):\n  return FastAPI()"},
            UVICORN.format("main:create_app --factory"),
            None,
        ),
        (
            {"main.py": "from web import build\nsite = build()", "web.py": FACTORY},
            UVICORN.format("main:site"),
            None,
        ),
        (
            {"pkg/main.py": "from . import build\napp = build()", "pkg/__init__.py": FACTORY},
            UVICORN.format("pkg.main:app"),
            None,
        ),
        ({"app.py": FLASK.format("app")}, FLASK_RUN.format("app"), None),
        ({"app.py": FLASK.format("site")}, FLASK_RUN.format("app:site"), None),
        ({"app.py": QUART}, "quart --app app run --reload --host {host} --port {port}", None),
        ({"src/site/app.py": FLASK.format("app")}, FLASK_RUN.format("site.app"), "src"),
        ({"mysite/asgi.py": DJANGO, "mysite/__init__.py": ""}, UVICORN.format("mysite.asgi:application"), None),
    ],
)  # fmt: skip
def test_python_entry_points(tmp_path: Path, files: dict[str, Any], command: str, cwd: str | None) -> None:
    found = backend(tmp_path, files)
    assert (found["command"], found.get("cwd")) == (command, cwd)
    assert found["port"] == (8000 if command.startswith("uvicorn") else 5000)


@pytest.mark.parametrize(
    "text",
    [
        "from fastapi import APIRouter\napp = APIRouter()",
        "from fastapi import FastAPI\ndef helper(name):\n  return FastAPI()",
        "from fastapi import FastAPI\ndef create_app(settings):\n  return FastAPI()",
        "from fastapi import FastAPI\nclass X:\n  app = FastAPI()",
        "class FastAPI: ...\napp = FastAPI()",
        "'''app = FastAPI()'''",
        "if __name__ == '__main__':\n  print('FastAPI')",
        "from .. import x\n" + FASTAPI,
        "app = FastAPI(\n",
    ],
)
def test_no_python_entry_point(tmp_path: Path, text: str) -> None:
    assert services(tmp_path, {"main.py": text}) == {}


GUARD = "import os, uvicorn\n{}\nif __name__ == '__main__':\n  uvicorn.run(x{})\n"


@pytest.mark.parametrize(
    ("before", "port", "expected", "variable"),
    [
        ("", "", 8000, None),
        ("", ", port=9000", 9000, None),
        ("P = 9001", ", port=P", 9001, None),
        ("P = int(os.getenv('PORT', 9002))", ", port=P", 9002, "PORT"),
        ("", ", port=int(os.environ.get('APP_PORT', '9003'))", 9003, "APP_PORT"),
        ("", ", port=int(os.getenv('PORT') or 9004)", 9004, "PORT"),
        ("", ", port=int(os.environ['PORT'])", None, None),
        ("", ", port=settings.port", None, None),
        ("", ", **options", None, None),
        ("P = P", ", port=P", None, None),
        ("", ", port=70000", None, None),
    ],
)
def test_a_file_that_starts_its_own_server(
    tmp_path: Path, before: str, port: str, expected: int | None, variable: str | None
) -> None:
    found = backend(tmp_path, {"main.py": GUARD.format(before, port)})
    assert found["command"] in ("python main.py", "python3 main.py")
    assert found.get("port") == expected
    assert found.get("env") == ({variable: "{port}"} if variable else None)


def test_a_file_that_serves_when_it_is_imported_is_only_run(tmp_path: Path) -> None:
    found = backend(tmp_path, {"main.py": FASTAPI + "import uvicorn\nuvicorn.run(app, port=9005)\n"})
    assert (found["command"].removeprefix("python3 ").removeprefix("python "), found["port"]) == ("main.py", 9005)


def test_the_port_of_the_file_itself_goes_to_its_app_too(tmp_path: Path) -> None:
    guarded = FASTAPI + GUARD.format("", ", port=int(os.getenv('API_PORT', 9000))")
    assert backend(tmp_path, {"main.py": guarded})["port"] == 9000
    found = backend(tmp_path, {"main.py": guarded, ".env": "API_PORT=9100\n"})
    assert (found["command"], found["port"]) == (UVICORN.format("main:app"), 9100)
    assert found["env_file"] == ".env"


def test_own_env_file_goes_before_the_roots_and_a_broken_one_is_left_out(tmp_path: Path) -> None:
    files = {"backend/main.py": FASTAPI, ".env": "A=1\n"}
    assert backend(tmp_path, dict(files))["env_file"] == ".env"
    assert backend(tmp_path, {"backend/.env": "A=2\n"})["env_file"] == "backend/.env"
    found = look(tmp_path, {"backend/.env": "A=2\nDEVTASKS_ID=x\n"})
    assert found.table["services"]["backend"]["env_file"] == ".env"
    assert found.notes[0].startswith("backend/.env line 2: DEVTASKS_ID")


def test_an_environment_kept_elsewhere_is_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "poetry").write_text("#!/bin/sh\n")
    (tools / "poetry").chmod(0o755)
    root = tmp_path / "shop"
    files = {"main.py": FASTAPI, "poetry.lock": ""}
    monkeypatch.setenv("PATH", str(tools))
    assert backend(root, dict(files))["command"] == "poetry run " + UVICORN.format("main:app")
    (root / ".venv").mkdir()
    assert backend(root, {})["command"] == UVICORN.format("main:app")
    (root / ".venv").rmdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert backend(root, {})["command"] == UVICORN.format("main:app")


# --- package.json ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        ({}, "npm"),
        ({"package-lock.json": "{}"}, "npm"),
        ({"pnpm-lock.yaml": ""}, "pnpm"),
        ({"yarn.lock": ""}, "yarn"),
        ({"bun.lock": ""}, "bun"),
        ({"bun.lockb": ""}, "bun"),
        ({"package.json": scripts(dev="vite") | {"packageManager": "pnpm@9.1.0+sha512.abc"}}, "pnpm"),
        ({"package.json": scripts(dev="vite") | {"packageManager": "evil; rm -rf"}}, "npm"),
        ({"package.json": scripts(dev="vite") | {"packageManager": 5}, "yarn.lock": ""}, "yarn"),
        (
            {
                "package.json": scripts(dev="vite") | {"packageManager": "npm@10"},
                "yarn.lock": "",
                "package-lock.json": "",
            },
            "npm",
        ),
    ],
)
def test_package_managers(tmp_path: Path, files: dict[str, Any], manager: str) -> None:
    assert (
        services(tmp_path, {"package.json": scripts(dev="vite"), **files})["frontend"]["command"]
        == f"{manager} run dev"
    )


def test_the_lock_file_of_a_workspace_is_in_its_root(tmp_path: Path) -> None:
    found = services(tmp_path, {"apps/web/package.json": scripts(dev="vite"), "yarn.lock": ""})
    assert found["frontend"]["command"] == "yarn run dev"
    found = services(tmp_path, {"apps/pnpm-lock.yaml": ""})
    assert found["frontend"]["command"] == "pnpm run dev"


@pytest.mark.parametrize(
    ("script", "port", "variable"),
    [
        ("vite", 5173, False),
        ("vite dev --host", 5173, False),
        ("vite --port 3001 --open", 3001, False),
        ("vite --port=3002", 3002, False),
        ("vite build --watch", None, False),
        ("vite --config other.ts", None, False),
        ("next dev", 3000, True),
        ("next dev --turbo -p 3003", 3003, False),
        ("next dev -p3004", 3004, False),
        ("PORT=3005 next dev", 3005, False),
        ("cross-env PORT=3006 react-scripts start", 3006, False),
        ("react-scripts start", 3000, True),
        ("npm run gen && vite", 5173, False),
        ("npm run other", 3007, False),
        ("node tool.js --port 3008", 3008, False),
        ("vite & node server.js", None, False),
        ("tsup --watch", None, False),
        ("next build", None, False),
        ("'", None, False),
    ],
)
def test_ports_of_scripts(tmp_path: Path, script: str, port: int | None, variable: bool) -> None:
    package = scripts(dev=script, other="vite --port 3007")
    keys = services(tmp_path, {"frontend/package.json": package})["frontend"]
    assert keys.get("port") == port
    assert keys.get("env") == ({"PORT": "{port}"} if variable else None)


@pytest.mark.parametrize(
    ("config_text", "port"),
    [
        ("export default { plugins: [] }", 5173),
        ("export default { server: { port: 3000 } }", 3000),
        ("export default { server: { proxy: { '/a': { port: 1, target: 'http://x:8000' } }, port: 3001 } }", 3001),
        ("export default { server: { host: true } }", 5173),
        ("export default { /* server: { port: 1 } */ }", 5173),
        ("export default {\n  // server: { port: 1 },\n}", 5173),
        ("export default { server: { port: Number(process.env.PORT) } }", None),
        ("export default { server: { ...shared } }", None),
        ("export default { server }", None),
    ],
)
def test_port_of_a_vite_config(tmp_path: Path, config_text: str, port: int | None) -> None:
    keys = services(tmp_path, {"package.json": scripts(dev="vite"), "vite.config.mjs": config_text})["frontend"]
    assert keys.get("port") == port


@pytest.mark.parametrize(
    ("code", "port", "variable"),
    [
        ("listen(process.env.PORT || 4000)", 4000, True),
        ("const port = parseInt(process.env.PORT || '4001', 10)", 4001, True),
        ("const port = parseInt(process.env.PORT, 10) || 4002", 4002, True),
        ("const port = process.env['PORT'] ?? 4003", 4003, True),
        ("const { HOST, PORT = 4004 } = process.env", 4004, True),
        ("app.listen(4005, () => {})", 4005, False),
        ("app.listen(process.env.PORT)", None, False),
        ("app.listen(port)", None, False),
    ],
)
def test_port_of_a_node_server(tmp_path: Path, code: str, port: int | None, variable: bool) -> None:
    files = {"package.json": scripts(dev="nodemon --inspect ./src/server.ts"), "src/server.ts": code}
    keys = backend(tmp_path, dict(files))
    assert keys.get("port") == port
    assert keys.get("env") == ({"PORT": "{port}"} if variable else None)


def test_a_front_end_reads_its_own_env_file_and_a_server_is_given_it(tmp_path: Path) -> None:
    code = "listen(process.env.PORT || 4000)"
    files = {
        "web/package.json": scripts(dev="next dev"),
        "web/.env": "PORT=3100\n",
        "server/package.json": scripts(start="node index.js"),
        "server/index.js": code,
        "server/.env": "PORT=4100\n",
    }
    assert services(tmp_path, dict(files)) == {
        "backend": {
            "command": "npm run start",
            "cwd": "server",
            "port": 4100,
            "env": {"PORT": "{port}"},
            "env_file": "server/.env",
        },
        "frontend": {"command": "npm run dev", "cwd": "web", "port": 3100, "env": {"PORT": "{port}"}},
    }


def test_dev_goes_before_start_and_neither_is_nothing(tmp_path: Path) -> None:
    assert services(tmp_path, {"package.json": scripts(build="x", test="y")}) == {}
    assert services(tmp_path, {"package.json": scripts(start="vite")})["frontend"]["command"] == "npm run start"
    found = services(tmp_path, {"package.json": scripts(start="vite", dev="vite")})
    assert found["frontend"]["command"] == "npm run dev"


def test_a_script_for_several_services_is_not_started_beside_them(tmp_path: Path) -> None:
    root = {"package.json": scripts(dev="concurrently 'npm:api' 'npm:web'")}
    assert list(services(tmp_path, dict(root))) == ["dev"]
    assert list(services(tmp_path, {"web/package.json": scripts(dev="vite")})) == ["dev"]
    found = look(tmp_path, {"backend/main.py": FASTAPI})
    assert list(found.table["services"]) == ["backend", "frontend"]
    assert found.notes[-1].startswith("package.json: its script is left out")


def test_a_root_server_beside_a_front_end(tmp_path: Path) -> None:
    files = {
        "package.json": scripts(dev="node server.js"),
        "server.js": "x.listen(4000)",
        "client/package.json": scripts(start="react-scripts start"),
    }
    found = services(tmp_path, dict(files))
    assert [(name, keys["port"]) for name, keys in found.items()] == [("backend", 4000), ("frontend", 3000)]


def test_two_services_do_not_share_a_port(tmp_path: Path) -> None:
    files = {"main.py": FASTAPI, "web/package.json": scripts(dev="vite --port 8000")}
    assert [keys["port"] for keys in services(tmp_path, dict(files)).values()] == [8001, 8000]
    found = look(tmp_path, {"Procfile": "a: uvicorn x:y\nb: uvicorn x:z\n"})
    assert [keys.get("port") for keys in found.table["services"].values()] == [8000, None]
    assert found.notes == ("Procfile: the port of b is left out, for a has 8000 too",)


def test_a_script_that_starts_devtasks_is_left_out(tmp_path: Path) -> None:
    found = look(tmp_path, {"package.json": scripts(dev="inv start")})
    assert found.table == {}
    assert "would start devtasks again" in found.notes[0]


# --- hostile files -----------------------------------------------------------------------------------

FILES = (
    "Procfile.dev", "Procfile", ".env", "main.py", "manage.py", "package.json", "frontend/package.json",
    "vite.config.ts", "backend/main.py", "src/shop/main.py",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["binary", "nul", "huge", "fifo", "folder", "loop", "outside", "device"])
def test_what_cannot_be_read_is_not_inferred(tmp_path: Path, name: str, kind: str) -> None:
    outside = project(tmp_path / "elsewhere", {"file": FASTAPI})
    root = project(tmp_path / "shop", {"server/main.py": FASTAPI})
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "binary":
            path.write_bytes(b"\xff\xfe" + FASTAPI.encode())
        case "nul":
            path.write_bytes(b"web: x\0" + FASTAPI.encode())
        case "huge":
            with path.open("wb") as file:
                file.truncate(10**12)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path.name)
        case "outside":
            path.symlink_to(outside / "file")
        case "device":
            path.symlink_to("/dev/zero")
    found = infer(root)
    assert list(found.table["services"]) == ["backend"]
    assert found.table["services"]["backend"]["cwd"] == "server"
    if name not in ("vite.config.ts", "src/shop/main.py", "frontend/package.json", "backend/main.py", "manage.py"):
        assert any(note.startswith(f"{name}: ") for note in found.notes), found.notes


def test_a_folder_that_leads_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    project(tmp_path / "elsewhere", {"main.py": FASTAPI, "package.json": scripts(dev="vite")})
    root = tmp_path / "shop"
    root.mkdir()
    (root / "backend").symlink_to(tmp_path / "elsewhere")
    (root / "frontend").symlink_to(tmp_path / "elsewhere")
    found = infer(root)
    assert found.table == {}
    assert "backend/main.py: leads out of the project; not read" in found.notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("package.json", "["),
        ("package.json", "[" * 100_000),
        ("package.json", "[]"),
        ("package.json", '{"scripts": []}'),
        ("package.json", '{"scripts": {"dev": {}, "start": 5}}'),
        ("package.json", '{"scripts": {"dev": "node \\ud800.js", "start": ""}, "packageManager": []}'),
        ("package.json", '{"scripts": {"dev": "node ../../\\u0000.js"}}'),
        ("package.json", '{"scripts": {"dev": "python \\u001b[31m/etc/passwd.py"}}'),
        ("package.json", '{"scripts": {"dev": "npm run dev"}}'),
        ("package.json", '{"port": ' + "1" * 10_000 + "}"),
        ("main.py", "app = FastAPI(" * 5_000),
        ("main.py", "FastAPI" + ".a" * 100_000),
        ("main.py", "FastAPI" + " + 1" * 60_000),
        ("main.py", "x = FastAPI(port=" + "1" * 10_000 + ")"),
        ("main.py", "if FastAPI: pass\n" + "elif x: pass\n" * 15_000),
        ("main.py", "x = '\\d'  # FastAPI"),
        ("Procfile", "web: " + "x" * 60_000),
        ("Procfile", "web: x\n" * 30_000),
        ("Procfile", "\n".join(f"p{number}: x $PORT" for number in range(2_000))),
    ],
)
def test_hostile_content(tmp_path: Path, name: str, text: str) -> None:
    found = look(tmp_path, {name: text})
    assert all(note.isprintable() for note in found.notes)


WORDS = (
    "cd x &&", "A=1", "exec", "uvicorn", "x:y", "'", '"a b"', "$PORT", "-p", "--port", "-b", "8000", "0", ":",
    "npm", "run", "dev", "python", "manage.py", "runserver", "&&", "'&&'", "|", "\\", "=", "PORT=", "{port}", "é",
)  # fmt: skip
LINES = st.tuples(st.text("aZ1_-", min_size=1, max_size=4), st.lists(st.sampled_from(WORDS), max_size=6))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=5), env=st.sampled_from([None, "PORT=65500", "PORT=x", "PORT", "A='"]))
def test_any_procfile_gives_a_table_that_is_accepted(
    tmp_path: Path, lines: list[tuple[str, list[str]]], env: str | None
) -> None:
    files: dict[str, Any] = {"Procfile": "\n".join(f"{name}: {' '.join(words)}" for name, words in lines)}
    (tmp_path / ".env").unlink(missing_ok=True)
    look(tmp_path, files | ({".env": env} if env else {}))


# --- cost and details --------------------------------------------------------------------------------


def test_only_what_is_needed_is_imported(tmp_path: Path) -> None:
    project(tmp_path, {"Procfile": "web: ./serve\n"})
    program = (
        "import sys; from pathlib import Path; from devtasks.inferring import infer; infer(Path(sys.argv[1]));"
        "print(*{'json', 'psutil', 'sqlite3', 'socket', 'tomllib'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-S", "-c", program, tmp_path], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip
    assert run.stdout.strip() == ""


def test_ports_of_words(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    assert ports.of_words(tree, "", []) is None
    assert ports.of_words(tree, "", ["poetry", "run", "flask", "run", "-p", "5001"]) == Port(5001)
    assert ports.of_words(tree, "", ["flask", "db", "upgrade"]) is None
    assert ports.of_words(tree, "", ["npx", "next", "dev"]) == Port(3000, "PORT")
