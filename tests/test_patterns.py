"""Which command lines are a service that was started by hand, and which only look like one."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtasks.model import Service
from devtasks.programs import bystander, spawns_its_own
from devtasks.programs.derivation import package_scripts
from devtasks.programs.literals import literals
from devtasks.programs.patterns import matcher

BACKEND = Path("/shop/backend")


def words(line):
    """`=` in front: the process overwrote its command line with one title."""
    return [line[1:]] if line.startswith("=") else shlex.split(line)


def service(command, *, cwd=BACKEND, shell=False, ports=(), patterns=()):
    return Service(
        name="web", group="web", command=(command,) if shell else tuple(shlex.split(command)), shell=shell,
        cwd=Path(cwd), ports=ports, patterns=patterns, pid_file=Path("/shop/p"), log_file=Path("/shop/l"),
    )  # fmt: skip


def reached(matching, line):
    """As the sweep decides it, before it looks at folders and users."""
    argv = words(line)
    matched = matching.match(argv)
    if matched is not None:
        assert matching.may_match("\0".join(argv).encode("utf-8", "surrogateescape"))
    return matched is not None and bystander(argv, terminal=True) is None and spawns_its_own(argv) is None


def derived(command, **settings):
    return matcher(service(command, **settings))


BACKENDS = {
    "asgi": derived("uvicorn main:app --host 127.0.0.1 --port 8000", ports=(8000,)),
    "fastapi": derived("fastapi dev main.py --port 8000", ports=(8000,)),
    "script": derived("python main.py", ports=(8000,)),
    "regex": matcher(
        service(
            "uvicorn main:app",
            patterns=("[Pp]ython[\\d.]* (\\S*/)?main\\.py", "uvicorn (\\w+\\.)*main:", "fastapi (dev|run) main"),
        )
    ),
}

INNOCENT_OF_THE_BACKEND = [
    # editors and pagers on a matching path
    "vim main.py", "nvim /shop/backend/main.py", "emacs -nw main.py", "nano main.py", "code main.py",
    "hx main.py",
    "/usr/share/code/code --type=renderer /shop/backend/main.py", "less main.py", "bat main.py", "cat main.py",
    "tail -f /shop/.devtasks/uvicorn-main.log", "tail -F main.log", "watch -n1 'pgrep -f uvicorn.*main'",
    # who only says it
    "grep -rn 'uvicorn main:app' .", "rg fastapi.*main", "pgrep -f 'uvicorn main:app'", "git log -p main.py",
    "git commit -m 'uvicorn main:app --reload'", "jj diff main.py", "ssh prod uvicorn main:app --port 8000",
    "ssh -t prod 'cd /srv && python main.py'", "scp main.py prod:", "rsync -a backend/main.py prod:",
    "tmux new-session -d -s api 'uvicorn main:app'", "SCREEN -dmS api uvicorn main:app",
    "zellij run -- uvicorn main:app",
    "echo uvicorn main:app", "sleep 100 uvicorn main:app", "curl http://localhost:8000/main.py",
    # containers
    "docker run -p 8000:8000 api uvicorn main:app", "docker compose exec api python main.py",
    "kubectl exec -it api -- uvicorn main:app", "podman exec api uvicorn main:app",
    "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8000",
    # other programs of the project
    "python train_domain.py", "python domain.py", "python src/train_main.py", "python manage.py migrate",
    "alembic upgrade head", "python seed.py main.py", "python -m tools.load main.py", "celery -A main worker",
    "python -c 'import main; main.run()' main.py", "python - main.py", "python main.pyx", "python notmain.py",
    "uvicorn domain:app", "uvicorn other:app --port 8000", "uvicorn main_admin:app", "uvicorn main.admin:app",
    "uvicorn main:app --port 9000", "python main.py migrate", "python main.py --port=9000",
    "gunicorn other:app", "gunicorn -b 127.0.0.1:9000 main:app", "fastapi deploy", "fastapi dev other.py",
    "fastapi run --port 9000 main.py", "streamlit run app.py", "jupyter lab main.ipynb",
    # test runners, linters, debuggers, language servers
    "pytest tests/test_main.py", "python -m pytest tests/test_main.py", "python -m pytest main.py",
    "tox -- main.py",
    "mypy main.py", "ruff check main.py", "python -m black main.py", "pylint main.py", "flake8 main.py",
    "python -m pdb main.py", "gdb --args python main.py", "strace -f uvicorn main:app",
    "py-spy record -- python main.py",
    "python -m debugpy --listen 5678 main.py", "pylsp main.py", "pyright-langserver --stdio main.py",
    "coverage run -m pytest tests/test_main.py", "uv run pytest tests/test_main.py",
    # what starts it, and what stops it
    "make start-backend", "make uvicorn main:app", "inv start-backend", "python /v/bin/inv restart main.py",
    "sh -c 'pkill -f \"uvicorn main:app\" || true'", "/bin/sh -c 'ps -ef | grep uvicorn.*main'",
    "sh -c 'make lint && uvicorn main:app'", "pkill -f main.py",
    # shells in use
    "bash", "-zsh", "python", "ipython -i main.py", "vim", "bash -i",
    # helpers that never can be known
    "python -c 'from multiprocessing.spawn import spawn_main; spawn_main(5)' --multiprocessing-fork main.py",
    "python -c 'from multiprocessing.resource_tracker import main;main(4)'",
]  # fmt: skip

THE_BACKEND = [
    "python main.py", "python3 main.py", "python3.11 -u main.py", "Python main.py", "python.exe -u main.py",
    "/shop/.venv/bin/python main.py", "python ./main.py", "python /shop/backend/main.py",
    "python -X dev main.py --reload",
    "uvicorn main:app", "uvicorn main:app --reload", "uvicorn --reload main:app", "uvicorn main:app --port 8000",
    "uvicorn main:app --port=8000 --workers 4 --log-level debug", "python -m uvicorn main:app",
    "python -m uvicorn src.main:app", "python -um uvicorn main:app", "uvicorn app.main:app",
    "uvicorn backend.main:app",
    "/shop/.venv/bin/python3.11 /shop/.venv/bin/uvicorn main:app --reload",
    r"'C:\shop\.venv\Scripts\python.exe' 'C:\shop\.venv\Scripts\uvicorn.exe' main:app", "uvicorn.exe main:app",
    "fastapi dev main.py", "fastapi run main.py", "fastapi dev", "fastapi run --workers 4 main.py",
    "python /shop/.venv/bin/fastapi dev main.py", "python -m fastapi dev main.py", "fastapi main",
    "gunicorn -w 4 -k uvicorn.workers.UvicornWorker main:app", "gunicorn -b 0.0.0.0:8000 main:app",
    "=gunicorn: master [main:app]", "=gunicorn: worker [main:app]", "hypercorn main:app --bind 127.0.0.1:8000",
    "granian --interface asgi main:app", "daphne -p 8000 main:app",
    "uv run uvicorn main:app", "uv run main.py", "uv run --env-file .env python main.py",
    "poetry run uvicorn main:app",
    "pipenv run python main.py", "nohup uvicorn main:app", "env A=1 uvicorn main:app", "coverage run main.py",
    "sh -c 'uvicorn main:app'", "sh -c 'cd backend && uvicorn main:app; true'", "bash -lc 'exec python main.py'",
    "watchfiles 'uvicorn main:app' src", "watchmedo auto-restart -d . -- python main.py",
    "nodemon --exec python main.py",
]  # fmt: skip


def test_the_lists_are_as_long_as_the_classic_sweeps():
    assert len(INNOCENT_OF_THE_BACKEND) >= 48
    assert len(INNOCENT_OF_THE_FRONT_END) >= 28
    assert len(THE_BACKEND) >= 20
    assert len(THE_FRONT_END) >= 12


@pytest.mark.parametrize("line", INNOCENT_OF_THE_BACKEND)
@pytest.mark.parametrize("kind", ["asgi", "fastapi", "script"])
def test_the_backend_is_not(kind, line):
    assert not reached(BACKENDS[kind], line)


@pytest.mark.parametrize("line", THE_BACKEND)
@pytest.mark.parametrize("kind", ["asgi", "fastapi"])
def test_the_backend_is(kind, line):
    assert reached(BACKENDS[kind], line)


@pytest.mark.parametrize(
    "line", ["python main.py", "Python main.py", "python.exe -u main.py", "python -m uvicorn src.main:app",
             "uvicorn app.main:app", "uvicorn main:app", "fastapi dev main.py", "uv run fastapi run main.py",
             "/v/bin/python /v/bin/uvicorn main:app --port 9000", "sh -c 'python src/main.py'"],
)  # fmt: skip
def test_the_users_own_patterns_match_from_the_program_on(line):
    assert reached(BACKENDS["regex"], line)


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in INNOCENT_OF_THE_BACKEND
        if not any(part in line for part in ("--port", "migrate", ":9000", "main.pyx"))
    ]
)  # fmt: skip
def test_the_users_own_patterns_reach_nothing_that_only_mentions_the_service(line):
    assert not reached(BACKENDS["regex"], line)


@pytest.fixture(scope="module")
def frontend(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop") / "frontend"
    folder.mkdir()
    scripts = {
        "dev": "vite", "build": "tsc -b && vite build", "start": "next dev", "test": "vitest",
        "lint": "eslint .",
        "serve": "node server.js", "watch": "npm run build && esbuild --watch src/main.ts --bundle",
        "ts": "cross-env NODE_ENV=development tsx watch src/index.ts", "mon": "nodemon server.js",
        "all": 'concurrently "npm:dev" "node server.js"', "loop": "npm run loop", "port": "vite --port 3000",
        "bad": 7,
    }  # fmt: skip
    (folder / "package.json").write_text(json.dumps({"scripts": scripts}))
    return folder


INNOCENT_OF_THE_FRONT_END = [
    "vim vite.config.ts", "code frontend", "less frontend/vite.log", "tail -f frontend.log", "grep -r vite .",
    "rg 'npm run dev'", "git log frontend/vite.config.ts", "git commit -m 'npm run dev'", "ssh prod npm run dev",
    "tmux new -d 'npm run dev'", "SCREEN -dmS web npm run dev", "docker run web npm run dev",
    "docker compose exec web vite", "kubectl exec web -- npm run dev", "npm run build", "npm run test",
    "npm test",
    "npm install", "npm run lint", "npm run dev2", "npm run devtools", "npm start", "npx vitest", "vitest",
    "vite build",
    "vite preview", "vite --port 9999", "node server.js", "node build.js frontend", "node frontend/tool.js",
    "node scripts/vite-check.js", "npm --prefix admin run dev", "pnpm --filter admin dev",
    "yarn workspace admin dev",
    "sh -c 'cd ../admin && npm run dev'", "esbuild --service=0.21.5 --ping", "eslint src/vite.ts",
    "prettier --check vite",
    "node /x/node_modules/typescript/lib/tsserver.js frontend", "tsc --noEmit -p frontend", "tsc -b",
    "make npm run dev", "inv start-frontend", "node -e 'npm run dev'", "node inspect vite.js", "jest frontend",
    "storybook dev", "playwright test --ui", "/home/u/.vscode-server/node /home/u/.vscode-server/vite.js",
    "pkill -f vite", "npm run dev -- --port 9999", "python -m http.server", "next dev", "webpack serve",
]  # fmt: skip

THE_FRONT_END = [
    "npm run dev", "=npm run dev", "npm.cmd run dev", "npm run-script dev", "npm run dev -- --host", "pnpm dev",
    "pnpm run dev", "yarn dev", "yarn run dev", "bun run dev", "bun dev", "node --run dev", "corepack pnpm dev",
    "node /usr/lib/node_modules/npm/bin/npm-cli.js run dev", "node /usr/bin/npm run dev",
    "node /usr/lib/node_modules/corepack/dist/pnpm.js dev", "node .yarn/releases/yarn-4.1.0.cjs dev",
    "npm --prefix frontend run dev", "npm run dev --prefix=./frontend", "yarn --cwd frontend dev",
    "npm run dev -w frontend",
    "sh -c vite", "sh -c 'npm run dev'", "sh -c 'cd frontend && npm run dev'", "vite", "vite dev",
    "vite --host 0.0.0.0",
    "vite --port 5173", "npx vite", "npm exec vite", "pnpm exec vite", "bunx vite",
    "node /shop/frontend/node_modules/.bin/vite",
    "node /shop/frontend/node_modules/vite/bin/vite.js --port=5173",
    r"node.exe 'C:\shop\frontend\node_modules\vite\bin\vite.js'", "cmd.exe /d /s /c vite", "env A=1 npm run dev",
]  # fmt: skip


@pytest.mark.parametrize("line", INNOCENT_OF_THE_FRONT_END)
def test_the_front_end_is_not(frontend, line):
    assert not reached(derived("npm run dev", cwd=frontend, ports=(5173,)), line)


@pytest.mark.parametrize("line", THE_FRONT_END)
def test_the_front_end_is(frontend, line):
    assert reached(derived("npm run dev", cwd=frontend, ports=(5173,)), line)


@pytest.mark.parametrize(
    ("command", "same", "other"),
    [
        ("npm start", ["npm start", "npm run start", "next dev", "next", "next dev -p 3001",
         "=next-server (v16.0.1)",
                       "node /x/node_modules/next/dist/bin/next dev",
                       "node /x/node_modules/next/dist/server/lib/start-server.js"],
         ["next build", "next start", "npm run dev", "vite"]),
        ("npm run serve", ["node server.js", "node ./server.js", "node frontend/server.js",
         "node --watch server.js",
                           "node --inspect=0.0.0.0:9229 server.js", "nodemon server.js", "bun server.js"],
         ["node other/server.js", "node /elsewhere/server.js", "node server.mjs", "node server.js migrate",
          "node myserver.js"]),
        ("pnpm watch", ["esbuild --watch src/main.ts --bundle", "pnpm run watch",
                        "/x/node_modules/@esbuild/linux-x64/bin/esbuild src/main.ts --watch --outdir=dist"],
         ["tsc -b", "vite build", "npm run build", "esbuild src/other.ts", "esbuild --service=0.21.5 --ping"]),
        ("yarn ts", ["tsx watch src/index.ts", "tsx watch --clear-screen=false ./src/index.ts",
                     "node --require /x/tsx/preflight.cjs --import file:///x/loader.mjs src/index.ts",
                     "sh -c 'cross-env NODE_ENV=development tsx watch src/index.ts'"],
         ["tsx src/other.ts", "node src/index.js"]),
        ("npm run mon", ["nodemon server.js", "node server.js", "node /x/node_modules/.bin/nodemon server.js"],
         ["nodemon other.js"]),
        ("npm run all", ["vite", "node server.js", "npm run dev"], ["concurrently 'npm:lint'", "npm run build"]),
        ("npm run port", ["vite --port 3000", "vite"], ["vite --port 3001"]),
        ("npm t", [], ["vitest"]),
        ("npm run loop", ["npm run loop", "pnpm loop"], ["npm run dev"]),
        ("npm run bad", ["npm run bad"], ["7"]),
        ("npm run missing", ["yarn missing"], ["vite"]),
    ],
)  # fmt: skip
def test_scripts_of_package_json_are_followed(frontend, command, same, other):
    matching = derived(command, cwd=frontend)
    assert [line for line in same if not reached(matching, line)] == []
    assert [line for line in other if reached(matching, line)] == []


@pytest.mark.parametrize(
    ("command", "same", "other"),
    [
        ("python manage.py runserver 8000",
         ["python manage.py runserver", "python3 ./manage.py runserver 0.0.0.0:8000",
          "python -u manage.py runserver --noreload",
          "python manage.py --settings shop.dev runserver", "python manage.py runserver -v 2 a:8000"],
         ["python manage.py migrate", "python manage.py runserver 9000", "python manage.py shell",
          "python manage.py",
          "python manage.py runserver migrate", "python other/manage.py runserver"]),
        ("flask --app main run -p 5000",
         ["flask run", "flask --app main run --debug", "python -m flask run", "flask -A main:create_app run",
          "python main.py"],
         ["flask --app other run", "flask --app main shell", "flask db upgrade", "flask run -p 5001", "flask"]),
        ("celery -A proj worker -Q mail -l info",
         ["celery -A proj worker", "celery --app=proj worker --queues mail -c 4",
          "python -m celery -A proj worker",
          "=[celeryd: celery@host:MainProcess] -active- (-A proj worker -Q mail)"],
         ["celery -A proj worker -Q reports", "celery -A proj beat", "celery -A other worker",
          "celery -A proj flower"]),
        ("python -m http.server 5173 --directory dist",
         ["python3 -m http.server 5173", "python -m http.server", "python -m http.server -d build 5173"],
         ["python -m http.server 8080", "python -m json.tool", "http-server 5173"]),
        ("python -m app.main serve", ["python -m app.main serve", "python app/main.py serve",
         "python backend/app/main.py serve"],
         ["python -m app.main", "python -m app.other serve", "python -m other.main serve", "python main.py"]),
        ("streamlit run app.py --server.port 8501", ["streamlit run app.py",
         "streamlit run app.py --server.headless true"],
         ["streamlit run other.py", "streamlit hello", "streamlit run app.py --server.port 8502"]),
        ("php -S localhost:8000 -t public", ["php -S 127.0.0.1:8000"], ["php -S localhost:9000", "php",
         "php artisan serve"]),
        ("./run.sh serve", ["bash run.sh serve", "/bin/sh ./run.sh serve", "./run.sh serve"], ["bash run.sh",
         "bash run.sh stop"]),
        ("mytool --mode dev serve", ["mytool serve", "mytool serve --mode prod", "mytool -q serve",
         "mytool --a b serve --c d"],
         ["mytool", "mytool migrate", "mytool serve now", "mytool serve serve", "othertool serve"]),
        ("java -jar app.jar", ["java -Xmx1g -jar app.jar --spring.profiles.active=dev"],
         ["java -jar other.jar", "java"]),
        ("uvicorn shop.main:app", ["uvicorn main:app", "python -m uvicorn shop.main:app", "python main.py",
         "python shop/main.py"],
         ["uvicorn shop.admin:app", "uvicorn shop.main:admin", "uvicorn admin.main:app",
          "python /elsewhere/main.py"]),
        ("python -c 'import main'", [], ["python", "python -c 'import main'", "python main.py"]),
        ("redis-server --port 6379", ["redis-server", "=redis-server *:6379"],
         ["=redis-server *:6380", "redis-cli"]),
        ("./app serve", ["./app serve"], ["./app --multiprocessing-fork serve"]),
        ("fastapi dev", ["fastapi dev", "fastapi run main.py", "uvicorn app.main:app", "python main.py"],
         ["python main.py migrate", "node api.js", "uvicorn shop:app", "flask run", "go run main.go"]),
        ("make serve", [], ["make serve", "python main.py"]),
        ("docker compose up", [], ["docker compose up", "docker compose logs"]),
        ("", [], ["python main.py"]),
    ],
)  # fmt: skip
def test_the_same_work_in_other_words(command, same, other):
    matching = derived(command)
    assert [line for line in same if not reached(matching, line)] == []
    assert [line for line in other if reached(matching, line)] == []


@pytest.mark.parametrize(
    ("text", "same", "other"),
    [
        ("cd src && alembic upgrade head && uvicorn main:app", ["uvicorn main:app"], ["alembic upgrade head"]),
        ("exec uvicorn main:app; true", ["uvicorn main:app"], ["true"]),
        ("uvicorn main:app & npm run dev", ["uvicorn main:app", "npm run dev"], ["npm run build"]),
        ("(cd a && vite) & (cd b && uvicorn main:app)", ["vite", "uvicorn main:app"], []),
        ("while true; do uvicorn main:app; done", ["uvicorn main:app"], ["true"]),
        ("PORT=1 uvicorn main:app 2>&1 | tee log", ["uvicorn main:app"], ["tee log"]),
        ("vite || exit 1\n", ["vite"], []),
        ("gunicorn main:app --bind 0.0.0.0:$PORT", ["gunicorn main:app", "uvicorn main:app"], []),
        ("vite $(node args.js)", [], ["node args.js", "vite"]),
        ("uvicorn 'main:app", [], ["uvicorn main:app"]),
    ],
)
def test_a_shells_string_gives_what_keeps_running(text, same, other):
    matching = derived(text, shell=True)  # noqa: S604
    assert [line for line in same if not reached(matching, line)] == []
    assert [line for line in other if reached(matching, line)] == []


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"scripts": []}', "[" * 100_000, "\xff" * 10, " " * 2_000_000]
)
def test_a_damaged_package_json_adds_nothing(tmp_path, content):
    (tmp_path / "package.json").write_text(content, encoding="latin-1")
    assert package_scripts(tmp_path) == {}
    assert reached(derived("npm run dev", cwd=tmp_path), "npm run dev")


def test_a_package_json_that_is_no_file_adds_nothing(tmp_path):
    (tmp_path / "package.json").mkdir()
    assert package_scripts(tmp_path) == {}
    assert package_scripts(tmp_path / "missing") == {}


@pytest.mark.parametrize("command", ["npm run dev", "uvicorn main:app", "python main.py", "vite"])
def test_the_same_command_in_a_folder_beside_is_another_service(command):
    matching = derived(command)
    argv = shlex.split(command)
    for cwd in (None, "/shop", "/shop/backend", "/shop/backend/src"):
        assert matching.match(argv, cwd) is not None
    for cwd in ("/shop/admin", "/shop/backend2", "/other/backend"):
        assert matching.match(argv, cwd) is None


def test_task_runners_are_no_service_whatever_the_pattern():
    matching = matcher(service("x", patterns=(".*serve",)))
    assert matching.match(["serve"]) is not None
    for line in ("make serve", "python -m invoke serve", "uv run devtasks serve"):
        assert matching.match(words(line)) is None


def test_what_matched_is_named():
    assert BACKENDS["asgi"].match(["python", "main.py"]) == (
        "uvicorn main:app --host 127.0.0.1 --port 8000 (derived from command)"
    )
    assert BACKENDS["regex"].match(["uvicorn", "main:app"]) == "uvicorn (\\w+\\.)*main: (pattern)"


ALL = THE_BACKEND + INNOCENT_OF_THE_BACKEND + THE_FRONT_END + INNOCENT_OF_THE_FRONT_END
SOME_WORD = st.sampled_from(
    sorted({word for line in ALL for word in words(line)} | {"", "--", "-m", "MAIN.PY", "Uvicorn"})
)
ANY_WORD = SOME_WORD | st.text(st.characters(min_codepoint=1, exclude_categories=()), max_size=8)
MATCHERS = [*BACKENDS.values(), derived("next dev"), derived("fastapi run"), derived("./run.sh serve"),
derived("npm run dev"),
            derived("php -S a:1"), derived("celery -A x worker"), derived("react-scripts start")]  # fmt: skip


@given(st.lists(ANY_WORD, max_size=6))
def test_no_arguments_break_a_matcher_and_may_match_is_needed_for_match(argv):
    cmdline = "\0".join(argv).encode("utf-8", "surrogatepass")
    for matching in MATCHERS:
        if matching.match(argv) is not None:
            assert matching.may_match(cmdline)


FIRST = st.sampled_from(["-m", "serve", "--a", "--port", "8000", "b/c.py", "x"])
REST = st.lists(st.sampled_from(["serve", "--a", "--port", "8000", "-v", "x", "--b=1"]), max_size=5)


@given(FIRST, REST)
def test_a_command_is_itself(first, rest):
    argv = ["mytool", first, *rest]
    assert derived(shlex.join(argv)).match(argv) is not None


@pytest.mark.parametrize(
    ("pattern", "words_of_it"),
    [
        ("[Pp]ython[\\d.]* (\\S*/)?main\\.py", {"main.py"}),
        ("uvicorn main:", {"uvicorn"}),
        ("fastapi (dev|run) main", {"fastapi"}),
        ("(?:npm|pnpm) start", {"start"}),
        ("(vite|next)", {"vite", "next"}),
        ("a+bc(def){2}", {"def"}),
        (".*", None),
        ("(?i)main", None),
        ("(?i:main)", None),
        ("(a|)", None),
        ("(longer)?x", {"x"}),
        ("", None),
    ],
)
def test_the_words_that_a_regex_demands(pattern, words_of_it):
    assert literals(pattern) == words_of_it


@given(st.from_regex(r"([Pp]ython[\d.]* (\S*/)?main\.py|uvicorn (main|app):|(np|pnp)m run [^b]+)", fullmatch=True))
def test_a_regexs_words_are_in_what_it_matches(text):
    for pattern in ("[Pp]ython[\\d.]* (\\S*/)?main\\.py", "uvicorn (main|app):", "(np|pnp)m run [^b]+"):
        if re.match(pattern, text):
            assert any(word in text.lower() for word in literals(pattern))


def seconds(call):
    started = time.process_time()
    call()
    return time.process_time() - started


def test_a_megabyte_costs_little():
    long = ["uvicorn", "main:app", "x" * 1_000_000, *["--a"] * 200_000]
    for matching in MATCHERS:
        assert seconds(lambda matching=matching: matching.match(long)) < 0.2
    greedy = matcher(service("x", patterns=(r"(\S+ )*main\.py$",)))
    assert greedy.match(["x" * 4000, "main.pyx"]) is None


def test_most_processes_are_skipped_at_a_glance():
    lines = [
        line.encode()
        for line in ("/usr/lib/systemd/systemd --user", "sleep\x001000", "/usr/bin/dbus-daemon\x00--session")
    ]
    for matching in MATCHERS:
        assert not any(matching.may_match(line) for line in lines)
