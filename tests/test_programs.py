"""What an argument vector runs, and which programs only mention a service."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtasks.programs import (
    LONGEST_TEXT,
    bystander,
    program,
    readings,
    script,
    spawns_its_own,
    task_runner,
    users_own,
)


def words(line):
    """`=` in front: the process overwrote its command line with one title."""
    return [line[1:]] if line.startswith("=") else shlex.split(line)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python main.py", "main.py"),
        ("python3.11 -u -W ignore -X dev main.py --reload", "main.py"),
        ("Python main.py", "main.py"),
        ("python.exe -u main.py", "main.py"),
        (r"'C:\Python311\python.exe' -u 'C:\shop\main.py'", "main.py"),
        ("python -um uvicorn src.main:app", "uvicorn"),
        ("python -muvicorn main:app", "uvicorn"),
        ("pypy3 -m http.server", "http.server"),
        ("python -c 'import main' main.py", "python"),
        ("python -Bc 'import main' main.py", "python"),
        ("python - main.py", "python"),
        ("python", "python"),
        ("/p/.venv/bin/python /p/.venv/bin/uvicorn main:app", "uvicorn"),
        ("python /x/site-packages/uvicorn/__main__.py main:app", "uvicorn"),
        (r"python.exe 'C:\v\Scripts\uvicorn-script.py' main:app", "uvicorn"),
        ("coverage run main.py", "main.py"),
        ("coverage run -m uvicorn main:app", "uvicorn"),
        ("uv run --with httpx uvicorn main:app", "uvicorn"),
        ("uv run main.py", "main.py"),
        ("uv run -m uvicorn main:app", "uvicorn"),
        ("poetry run python main.py", "main.py"),
        ("pipenv run gunicorn main:app", "gunicorn"),
        ("nohup nice -n 5 env A=1 -u B uvicorn main:app", "uvicorn"),
        ("timeout -k 5 30 uvicorn main:app", "uvicorn"),
        ("tini -g -- uvicorn main:app", "uvicorn"),
        ("dumb-init uvicorn main:app", "uvicorn"),
        ("stdbuf -oL uvicorn main:app", "uvicorn"),
        ("sudo -u www PORT=1 uvicorn main:app", "uvicorn"),
        ("watchmedo auto-restart -d src -- python main.py", "main.py"),
        ("watchfiles 'uvicorn main:app' src", "uvicorn"),
        ("sh -c vite", "vite"),
        ("sh -c 'exec vite --port 3000'", "vite"),
        ("sh -c 'cd x && uvicorn main:app; true'", "uvicorn"),
        ("sh -c 'LOG=1 uvicorn main:app > log 2>&1'", "uvicorn"),
        ("/bin/bash -lc 'npm run dev'", "npm"),
        ("bash -eo pipefail -c vite", "vite"),
        ("sh -c 'vite & uvicorn main:app'", "sh"),
        ("sh -c 'ps -ef | grep uvicorn'", "sh"),
        ("sh -c 'uvicorn $(cat app)'", "sh"),
        ("sh -c \"uvi''corn main:app\"", "sh"),
        ("bash run.sh dev", "run.sh"),
        ("-zsh", "zsh"),
        (r"cmd.exe /d /s /c vite", "vite"),
        ("node server.js", "server.js"),
        ("nodejs --require x.cjs --import y -C dev --inspect=9229 server.js", "server.js"),
        ("node -e 'require(1)' server.js", "node"),
        ("node --env-file .env server.js", "server.js"),
        ("node /x/node_modules/.bin/vite", "vite"),
        ("node /x/node_modules/.bin/../vite/bin/vite.js", "vite"),
        ("node /x/node_modules/@angular/cli/bin/ng.js serve", "ng"),
        ("node /x/node_modules/webpack-cli/bin/cli.js serve", "webpack"),
        ("node /x/node_modules/react-scripts/scripts/start.js", "react-scripts"),
        ("node /x/node_modules/next/dist/server/lib/start-server.js", "next-server"),
        ("node /usr/lib/node_modules/npm/bin/npm-cli.js run dev", "npm"),
        ("node /usr/lib/node_modules/corepack/dist/pnpm.js dev", "pnpm"),
        ("node .yarn/releases/yarn-4.1.0.cjs dev", "yarn"),
        ("npm.CMD run dev", "npm"),
        ("npx --yes vite", "vite"),
        ("npx -p vite vite", "vite"),
        ("npm exec -- vite", "vite"),
        ("pnpm exec vite", "vite"),
        ("corepack pnpm exec vite", "vite"),
        ("cross-env NODE_ENV=development next dev", "next"),
        ("dotenv -e .env -- next dev", "next"),
        ("tsx watch src/index.ts", "index.ts"),
        ("nodemon --watch src server.js", "server.js"),
        ("nodemon --exec 'python -u' main.py", "main.py"),
        ("bun run src/index.ts", "index.ts"),
        ("bun --hot src/index.ts", "index.ts"),
        ("bun run dev", "bun"),
        ("bunx vite", "vite"),
        ("deno run -A --config deno.json main.ts", "main.ts"),
        ("deno task dev", "deno"),
        ("ruby -I lib bin/rails server", "rails"),
        ("bundle exec puma -p 3000", "puma"),
        ("perl -Ilib app.pl", "app.pl"),
        ("php -d x=1 artisan serve", "artisan"),
        ("php -S localhost:8000 -t public", "php"),
        ("java -Xmx1g -cp a.jar:b.jar com.example.Main", "com.example.main"),
        ("java -jar app.jar", "app.jar"),
        ("=npm run dev", "npm"),
        ("=next-server (v16.0.1)", "next-server"),
        ("=gunicorn: worker [main:app]", "gunicorn"),
        ("=[celeryd: celery@host:MainProcess] -active- (-A proj worker)", "celery"),
    ],
)
def test_the_program_is_what_really_runs(line, name):
    assert program(words(line)) == name


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("python -u /p/main.py --log /q/x.log", "/p/main.py"),
        ("python --x", None),
        ("python -m uvicorn main:app --log-config /p/log.json", None),
        ("node /p/node_modules/.bin/vite /q", "/p/node_modules/.bin/vite"),
        ("env A=1 /p/server /q", "/p/server"),
        ("vim /p/main.py", "vim"),
        ("sh -c 'cd /p && ./server'", "./server"),
        ("", None),
    ],
)
def test_the_script_is_a_path_as_written(line, path):
    assert script(words(line)) == path


def test_an_empty_vector_runs_nothing():
    assert program([]) == ""
    assert program([""]) == ""
    assert readings([]) == ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/usr/bin/python3 -u main.py --x", {"python3 -u main.py --x", "python main.py --x", "main.py --x"}),
        ("Python src/main.py", {"Python src/main.py", "python src/main.py", "main.py", "src/main.py"}),
        ("python.exe -u main.py", {"python.exe main.py", "python main.py"}),
        ("python -um uvicorn src.main:app", {"python -m uvicorn src.main:app", "uvicorn src.main:app"}),
        ("node /x/node_modules/.bin/vite --port 1", {"vite --port 1"}),
        ("node /n/npm/bin/npm-cli.js run dev", {"npm run dev", "npm-cli.js run dev"}),
        ("=npm run dev", {"npm run dev"}),
        ("sh -c 'cd x && uvicorn main:app; true'", {"uvicorn main:app", "sh -c cd x && uvicorn main:app; true"}),
        ("uv run uvicorn main:app", {"uv run uvicorn main:app", "uvicorn main:app"}),
        ("/x/bin/fastapi dev main.py", {"fastapi dev main.py"}),
    ],
)
def test_readings_begin_at_the_program(line, expected):
    assert expected <= set(readings(words(line)))


@pytest.mark.parametrize(
    "line",
    [
        "vim main.py",
        "ssh host uvicorn main:app",
        "docker run image uvicorn main:app",
        "tmux new -d 'uvicorn main:app'",
        "python -c 'import main' main.py",
        "node -e 'x' main.py",
        "grep -r main.py",
    ],
)
def test_no_reading_begins_in_the_arguments_of_another_program(line):
    assert not any(text.startswith(("main.py", "uvicorn", "python main.py")) for text in readings(words(line)))


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(5)", "--multiprocessing-fork"],
        ["python", "-c", "from multiprocessing.resource_tracker import main;main(4)"],
        ["/opt/app", "--multiprocessing-fork", "parent_pid=1"],
    ],
)
def test_multiprocessing_helpers_have_no_readings(argv):
    assert readings(argv) == ()


BYSTANDERS = {
    "editor": [
        "vim main.py", "/usr/bin/nvim +12 main.py", "vi -R backend/main.py", "emacs -nw main.py",
        "emacsclient main.py",
        "nano main.py", "hx src/main.py", "/usr/share/code/code --type=renderer /p/main.py", "code main.py",
        "'/Applications/Visual Studio Code.app/Contents/Frameworks/Code Helper (Plugin)' --type=utility",
        "/home/u/.vscode-server/bin/abc/node /home/u/.vscode-server/bin/abc/out/server-main.js",
        "python /home/u/.vscode/extensions/ms-python.python/python_files/run.py main.py",
        "/opt/idea/jbr/bin/java -cp x.jar com.intellij.idea.Main /p", "pycharm /p", "sh -c 'vim main.py'",
        "=vim main.py",
        "nohup gedit main.py",
    ],
    "pager": ["less backend.log", "tail -f backend.log", "cat main.py", "bat main.py", "journalctl -f"],
    "search tool": ["grep -rn uvicorn .", "rg main.py", "watch uvicorn main:app", "pgrep -f 'uvicorn main'",
        "tee a.log"],
    "multiplexer": ["tmux new -s x 'uvicorn main:app'", "SCREEN -S uvicorn main:app", "zellij"],
    "ssh": ["ssh prod uvicorn main:app", "scp main.py host:", "rsync -a main.py host:", "=sshd: user@pts/0"],
    "version control": ["git log main.py", "jj diff main.py", "hg annotate main.py", "gh pr view"],
    "container client": ["docker compose up", "docker exec x uvicorn main:app",
        "kubectl exec x -- python main.py", "podman ps"],
    "container proxy": ["/usr/bin/docker-proxy -proto tcp -host-port 8000", "rootlessport",
        "/usr/bin/conmon -c x"],
    "debugger": [
        "gdb --args python main.py", "strace -f uvicorn main:app", "py-spy top --pid 12",
        "python -m pdb main.py",
        "python -m debugpy --listen 5678 main.py", "python /x/debugpy/launcher 5123 -- main.py", "lldb python",
        "node inspect server.js", "python -m cProfile main.py", "uv run python -m pdb main.py",
    ],
    "test runner": [
        "pytest tests/test_main.py", "python -m pytest tests/test_main.py", "python -m unittest test_main",
        "tox -e py",
        "python /v/bin/pytest", "coverage run -m pytest", "uv run pytest", "npm test", "npm run test:watch",
        "pnpm test",
        "vitest", "node /x/node_modules/.bin/jest main", "playwright test", "node --test", "=node (vitest 1)",
        "python manage.py test", "bun test", "deno test", "go test ./...", "cargo test",
    ],
    "linter": [
        "mypy main.py", "ruff check main.py", "python -m black main.py", "eslint src/main.js",
        "prettier --check .",
        "tsc --noEmit", "tsc --watch --noEmit", "flake8 main.py", "npm run lint", "pre-commit run",
        "npx eslint .",
    ],
    "language server": [
        "pyright-langserver --stdio", "pylsp", "gopls", "node /x/node_modules/typescript/lib/tsserver.js",
        "typescript-language-server --stdio", "rust-analyzer", "python -m pylsp", "deno lsp",
    ],
    "database client": ["psql -h localhost", "redis-cli", "sqlite3 main.db"],
    "web client": ["curl http://localhost:8000", "wget main.py"],
    "package installer": ["npm install", "pip install uvicorn", "python -m pip install uvicorn",
        "yarn add vite"],
    "task runner": ["make start", "inv start-backend", "python -m invoke start",
        "python /v/bin/devtasks start", "just run"],
    "shell in use": ["bash", "-zsh", "bash -l", "sh -i", "fish", "python", "python3 -i", "ipython", "node",
        "python -q"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "line"), [(kind, line) for kind, lines in BYSTANDERS.items() for line in lines])
def test_what_only_mentions_a_service(kind, line):
    assert bystander(words(line), terminal=True) == kind


@pytest.mark.parametrize(
    "line",
    [
        "uvicorn main:app", "python main.py", "python -u main.py vim", "node server.js",
        "node --inspect server.js",
        "npm run dev", "=npm run dev", "pnpm dev", "yarn start", "vite", "sh -c vite", "sh -c 'npm run dev'",
        "bash run.sh",
        "node /x/node_modules/.bin/vite", "=next-server (v16)", "=gunicorn: master [main:app]",
        "python manage.py runserver",
        "python -m http.server", "tsc --watch", "webpack serve", "celery -A git worker", "redis-server",
        "postgres -D data",
        "java -jar app.jar", "python - main.py", "python -c 'import main'",
        "sh -c 'cd x && uvicorn main:app; true'",
        "python -m watch.server", "python test.py", "node test.js", "go run ./cmd/server",
        "docker-entrypoint.sh postgres",
        "python main.py /home/u/.vscode/settings.json",
    ],
)  # fmt: skip
def test_what_may_be_a_service(line):
    assert bystander(words(line), terminal=True) is None
    assert spawns_its_own(words(line)) is None


def test_an_interpreter_without_a_script_is_in_use_only_at_a_terminal():
    assert bystander(["python"], terminal=False) is None
    assert bystander(["bash"], terminal=False) == "shell in use"


@pytest.mark.parametrize("kind", ["test runner", "debugger"])
def test_what_test_runners_and_debuggers_start_is_theirs(kind):
    assert {spawns_its_own(words(line)) for line in BYSTANDERS[kind]} == {kind}


def test_others_start_services_for_the_user():
    for kind in BYSTANDERS.keys() - {"test runner", "debugger"}:
        assert {spawns_its_own(words(line)) for line in BYSTANDERS[kind]} == {None}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("/usr/libexec/gnome-terminal-server", "terminal"),
        ("kitty -e vim", "terminal"),
        ("alacritty", "terminal"),
        ("tmux", "multiplexer"),
        ("/usr/bin/tmux new-session -d", "multiplexer"),
        ("SCREEN -dmS x", "multiplexer"),
        ("vim main.py", "editor"),
        ("/usr/share/code/code /p", "editor"),
        ("/home/u/.vscode-server/node /home/u/.vscode-server/out/server-main.js", "editor"),
        ("/opt/google/chrome/chrome --type=renderer", "browser"),
        ("=/usr/lib/chromium/chromium --type=renderer --lang=en", "browser"),
        ("firefox -P dev", "browser"),
        ("'/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' --x", "browser"),
        ("adb -L tcp:5037 fork-server server", "shared daemon"),
        ("watchman --foreground", "shared daemon"),
        ("java -Xmx1g -cp g.jar org.gradle.launcher.daemon.bootstrap.GradleDaemon 8.5", "shared daemon"),
        ("'bazel(shop)' --max_idle_secs=10800", "shared daemon"),
        ("ssh-agent -s", "shared daemon"),
        ("gpg-agent --daemon", "shared daemon"),
        ("/usr/bin/containerd-shim-runc-v2 -id x", "shared daemon"),
        ("bash", "shell with a terminal"),
        ("-zsh", "shell with a terminal"),
    ],
)
def test_what_a_person_or_all_projects_use(line, kind):
    assert users_own(words(line), terminal=True) == kind


@pytest.mark.parametrize(
    "line",
    ["uvicorn main:app", "node server.js", "vite --open", "python chrome.py", "npm run tmux", "python -m kitty"],
)
def test_what_is_nobodys_own(line):
    assert users_own(words(line), terminal=True) is None


def test_a_shell_without_a_terminal_is_nobodys_own():
    assert users_own(["sh", "-c", "npm run dev"], terminal=False) is None
    assert users_own(["sh", "-c", "npm run dev"], terminal=True) == "shell with a terminal"


ANY_WORD = st.text(st.characters(codec=None, exclude_categories=()), max_size=12) | st.sampled_from(
    [
        "python",
        "-m",
        "-c",
        "--",
        "sh",
        "-",
        "",
        "npm",
        "run",
        "env",
        "uv",
        "node",
        "'",
        '"',
        "&&",
        ";",
        "\\",
        "-eo",
    ]
)


@given(st.lists(ANY_WORD, max_size=8), st.booleans())
def test_any_words_at_all_are_read(argv, terminal):
    assert isinstance(program(argv), str)
    assert all(len(text) <= LONGEST_TEXT for text in readings(argv))
    for answer in (
        bystander(argv, terminal=terminal),
        users_own(argv, terminal=terminal),
        spawns_its_own(argv),
    ):
        assert answer is None or answer
    assert task_runner(argv) in (True, False)


@pytest.mark.parametrize(
    "argv", [["x" * 1_000_000], ["sh", "-c", "a;" * 500_000], ["python", *["-u"] * 1_000_000]]
)
def test_a_megabyte_is_read_no_further_than_needed(argv):
    assert sum(map(len, readings(argv))) < 16 * LONGEST_TEXT
    assert bystander(argv, terminal=True) in (None, "shell in use")


def test_a_string_for_a_shell_cannot_make_the_reader_backtrack():
    for text in ("'" * 4000, '"\\' * 2000, "a\\" * 2000, "<" * 4000, "a&" * 2000, "1>" * 2000, '"' + "\\a" * 1999):
        readings(["sh", "-c", text])
