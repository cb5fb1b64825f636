"""Programs that only mention a service, judged by what runs and never by what is in the arguments."""

from __future__ import annotations

from collections.abc import Sequence

from devtasks.names import components
from devtasks.shells import SHELLS
from devtasks.unwrapping import Layer, layers


def _names(kind: str, text: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), kind)


_TASK_RUNNERS = frozenset("devtasks fab gmake go-task inv invoke just make nox rake remake task".split())

_EDITORS = _names(
    "editor",
    "atom bluefish brackets clion clion64 code code-insiders code-oss code-server code-tunnel codium cursor "
    "datagrip ed emacs emacs-nox emacs-gtk emacsclient eclipse ex fleet geany gedit gnome-text-editor goland "
    "gvim helix hx idea idea64 intellij jed joe jupyter-lab-desktop kak kakoune kate kwrite lapce lvim mate mcedit "
    "micro mvim nano ne notepad notepad++ notepadqq nvi nvim nvim-qt neovide openvscode-server pico phpstorm "
    "positron pulsar pycharm pycharm64 pycharm-community pycharm-professional qtcreator rider rubymine rvim "
    "rustrover sed spyder studio subl sublime_text textadept textedit trae vi view vim vim.basic vim.gtk3 vim.nox "
    "vim.tiny vimdiff vscodium webstorm webstorm64 windsurf xcode xed xemacs zed zed-editor zeditor",
)
_PAGERS = _names(
    "pager", "bat batcat cat ccze glow head hexdump journalctl less lnav more most moar mdcat multitail od tac tail "
    "xxd zcat zless",
)  # fmt: skip
_SEARCH = _names(
    "search tool",
    "ack ag awk diff egrep fd fdfind fgrep find fuser fzf gawk grep htop btop btm glances iftop killall locate lsof "
    "mawk meld nawk pgrep pkill procs ps pstree rg ripgrep sk sort ss tee top tree ugrep watch wc xargs zgrep "
    "netstat colordiff delta difft fkill kill-port cut tr uniq entr-view jq yq strings stat file du ls ll eza exa cp mv "
    "rm tar zip unzip gzip",
)
_MULTIPLEXERS = _names(
    "multiplexer", "abduco byobu byobu-tmux dtach dvtm mtm screen tmate tmux tmuxinator tmuxp zellij"
)
_REMOTE = _names(
    "ssh", "autossh dropbear et etserver etterminal mosh mosh-client mosh-server putty plink rclone rsync scp sftp "
    "sftp-server slogin ssh ssh-copy-id sshd sshd-session sshfs sshpass unison mutagen",
)  # fmt: skip
_VERSIONS = _names(
    "version control", "bzr cvs fossil gh git git-gui git-lfs git-remote-https gitg gitk gitui glab got hg hub jj "
    "lazygit p4 sl svn tig darcs pijul",
)  # fmt: skip
_CONTAINERS = _names(
    "container client",
    "buildah colima container crictl ctr devcontainer devspace distrobox docker docker-buildx docker-compose "
    "docker-machine finch helm k3d k3s k9s kind kubectl kubectx lazydocker limactl lima lxc lxc-attach lxc-execute "
    "machinectl minikube multipass nerdctl nsenter oc orb orbctl podman podman-compose podman-remote skaffold stern "
    "systemd-nspawn telepresence tilt toolbox vagrant",
)
_PROXIES = _names(
    "container proxy",
    "aardvark-dns com.docker.backend com.docker.build com.docker.vpnkit conmon containerd containerd-shim "
    "containerd-shim-runc-v2 docker-proxy dockerd fuse-overlayfs gvproxy netavark pasta passt pasta.avx2 "
    "passt.avx2 rootlesskit rootlessport rootlessport-child slirp4netns vpnkit vpnkit-bridge",
)
_DEBUGGERS = _names(
    "debugger",
    "austin bpftrace callgrind cgdb dbgp ddd debugpy debugpy-adapter delve dlv drgdb dtrace dtruss edb gdb gdbserver "
    "heaptrack ipdb lldb lldb-server ltrace memray ndb node-inspect pdb perf pudb pudb3 pydevd pydevd.py pyinstrument "
    "py-spy rdbg rr samply sandbox-exec scalene strace uftrace valgrind viztracer vizviewer yappi cprofile profile "
    "trace kernprof mprof filprofiler fil-profile",
)
_TEST_RUNNERS = _names(
    "test runner",
    "artillery ava behave bats codeceptjs ctest cucumber cypress gotestsum jasmine jest karma lab locust lettuce mocha "
    "mutmut nightwatch nose nose2 nosetests nyc c8 phpunit pest playwright protractor ptw py.test pytest pytest-watch "
    "pytest-watcher qunit robot rspec stestr storybook-test tap testcafe testem tox trial unittest uvu vitest wdio "
    "web-test-runner wtr zope-testrunner slipcover xdoctest doctest test-storybook green ward avocado",
)
_LINTERS = _names(
    "linter",
    "autoflake autopep8 bandit basedmypy biome black blackd codespell cspell dmypy djlint docformatter dprint eslint "
    "eslint_d flake8 golangci-lint hadolint interrogate isort jscpd jshint knip lefthook lint-staged markdownlint "
    "mypy oxlint pep8 prek pre-commit prettier prettierd prospector pycodestyle pydocstyle pyflakes pylama pylint pyre "
    "pytype pyupgrade radon refurb rome rubocop ruff semgrep shellcheck shfmt sqlfluff standard stylelint svelte-check "
    "tslint ty vulture vue-tsc yamllint yapf zuban husky commitlint rubyfmt deptry safety pip-audit detect-secrets",
)
_LANGUAGE_SERVERS = _names(
    "language server",
    "basedpyright basedpyright-langserver ccls clangd copilot-language-server efm-langserver eslintserver.js gopls "
    "intelephense jdtls jedi-language-server marksman metals omnisharp pylance pylsp pyls pyright pyright-langserver "
    "pyrefly ruby-lsp ruff-lsp rust-analyzer rls solargraph sourcery sourcekit-lsp tabnine taplo texlab tsserver "
    "tsserver.js typingsinstaller volar vscode-css-language-server vtsls vls zls typingsinstaller.js copilot",
)
_DATABASE_CLIENTS = _names(
    "database client", "cockroach-sql iredis litecli mariadb mongo mongosh mycli mysql pgcli psql redis-cli sqlite3 "
    "sqlcmd usql valkey-cli pg_dump pg_restore mysqldump",
)  # fmt: skip
_WEB_CLIENTS = _names(
    "web client", "ab aria2c curl curlie hey http httpie https k6 oha siege vegeta wget websocat wrk wscat xh",
)  # fmt: skip
_PACKAGERS = _names(
    "package installer",
    "apt apt-get brew conda-env dnf npm-check-updates ncu pacman pip pipx pip-tools pip-compile pip-sync yum",
)

_MENTIONS: dict[str, str] = {
    **_EDITORS, **_PAGERS, **_SEARCH, **_MULTIPLEXERS, **_REMOTE, **_VERSIONS, **_CONTAINERS, **_PROXIES,
    **_DEBUGGERS, **_TEST_RUNNERS, **_LINTERS, **_LANGUAGE_SERVERS, **_DATABASE_CLIENTS, **_WEB_CLIENTS,
    **_PACKAGERS, **dict.fromkeys(_TASK_RUNNERS, "task runner"),
}  # fmt: skip

_ENDINGS = (
    ("-language-server", "language server"), ("-langserver", "language server"), ("-lsp", "language server"),
    ("languageserver", "language server"), ("_language_server", "language server"), ("-languageserver", "language server"),
)  # fmt: skip
_EDITOR_FOLDERS = (
    ".vscode", ".vscode-insiders", ".vscode-oss", ".vscode-server", ".vscode-server-insiders", ".vscode-remote",
    ".cursor", ".cursor-server", ".windsurf", ".windsurf-server", ".zed_server", "Code Helper.app",
)  # fmt: skip
_SCRIPTS_OF_TOOLS = _names(
    "test runner", "test tests e2e unit spec coverage"
) | _names("linter", "lint format fmt typecheck type-check check types tsc prettier eslint")  # fmt: skip
_MANAGERS = frozenset(("npm", "pnpm", "yarn", "bun"))
_REPLS = frozenset(("python", "pypy", "node", "ruby", "php", "deno", "bun"))
_CONSOLES = frozenset(
    "bpython ghci groovysh ipython irb iex jshell jupyter-console pry ptpython ptipython rconsole utop".split()
)

_TERMINALS = _names(
    "terminal",
    "alacritty blackbox conhost contour cool-retro-term deepin-terminal eterm foot footclient ghostty gnome-terminal "
    "gnome-terminal-server guake hyper iterm2 kgx kitty konsole lilyterm lxterminal mate-terminal mintty openconsole "
    "ptyxis qterminal rio rxvt sakura st tabby terminal terminator terminology tilda tilix urxvt urxvtd uxterm warp "
    "wezterm wezterm-gui wezterm-mux-server windowsterminal wt xfce4-terminal xterm yakuake",
)
_BROWSERS = _names(
    "browser",
    "arc brave brave-browser chrome chrome_crashpad_handler chrome-headless-shell chromium chromium-browser epiphany "
    "falkon firefox firefox-bin firefox-esr geckodriver google-chrome google-chrome-beta google-chrome-stable "
    "headless_shell chromedriver iexplore konqueror librewolf microsoft-edge midori msedge msedgewebview2 opera "
    "qutebrowser safari thorium vivaldi vivaldi-bin waterfox webcontent zen zen-browser plugin-container x-www-browser",
)
_DAEMONS = _names(
    "shared daemon",
    "adb bazel bazelisk buck2 buckd buildkitd colima containerd containerd-shim containerd-shim-runc-v2 conmon "
    "dbus-daemon dbus-launch dirmngr distccd dockerd gnome-keyring-daemon gpg-agent gradle keyboxd kwalletd5 kwalletd6 "
    "limactl mvnd mvnd-daemon nailgun pants pantsd pcscd qemu-system-x86_64 qemu-system-aarch64 scdaemon sccache "
    "ssh-agent watchman xdg-desktop-portal at-spi-bus-launcher gvfsd",
)  # fmt: skip
_DAEMON_CLASSES = (
    "org.gradle.launcher.daemon.", "org.jetbrains.kotlin.daemon.", "org.gradle.wrapper.", "org.mvndaemon.",
    "com.intellij.", "com.facebook.buck.",
)  # fmt: skip


def bystander(argv: Sequence[str], *, terminal: bool) -> str | None:
    """What a program that only mentions services is, in words for people; None where it may be a service.

    Such a program is never reached by `port` or `pattern`. Any layer of the command line decides: `uv run
    pytest` is a test runner, `python -m pdb main.py` a debugger, `sh -c "vim main.py"` an editor. `terminal`:
    the process has a controlling terminal; an interpreter without a script is in use there.
    """
    found = layers(argv)
    for layer in found:
        kind = _mentions(layer)
        if kind is not None:
            return kind
    return _in_use(found, terminal=terminal) or _editors_part(argv)


def spawns_its_own(argv: Sequence[str]) -> str | None:
    """`test runner` or `debugger`: what it started is never reached by `port` or `pattern`. Else None."""
    for layer in layers(argv):
        kind = _mentions(layer)
        if kind in ("test runner", "debugger"):
            return kind
    return None


def users_own(argv: Sequence[str], *, terminal: bool) -> str | None:
    """What a program is that a person or all projects use, in words for people; None for any other.

    Once it has left a run's session, neither it nor what it started is the run's. `terminal`: the process has
    a controlling terminal; any shell with one counts.
    """
    found = layers(argv)
    for layer in found:
        name = layer.program
        if name in SHELLS:
            if terminal:
                return "shell with a terminal"
            continue
        kind = _TERMINALS.get(name) or _BROWSERS.get(name) or _MULTIPLEXERS.get(name) or _DAEMONS.get(name)
        if kind is not None:
            return kind
        if name in _EDITORS and name not in ("ed", "sed", "ex"):
            return "editor"
        if name == "java" or layer.by != "program":
            kind = _daemon_class(layer)
            if kind is not None:
                return kind
        if name.startswith("bazel("):
            return "shared daemon"
    return _editors_part(argv) or _browsers_part(argv)


def task_runner(argv: Sequence[str]) -> bool:
    """Whether this is make, Invoke, devtasks or the like: they start services and never are one."""
    return any(layer.program in _TASK_RUNNERS for layer in layers(argv))


def _mentions(layer: Layer) -> str | None:
    name = layer.program
    kind = _MENTIONS.get(name)
    if kind is not None:
        return kind
    for ending, what in _ENDINGS:
        if name.endswith(ending):
            return what
    args = layer.args
    if name in _MANAGERS:
        return _script_of_a_tool(args)
    if name in (
        "tsc",
        "deno",
        "go",
        "cargo",
        "node",
        "manage.py",
        "django-admin",
        "ng",
        "nx",
        "turbo",
        "dotnet",
        "mix",
    ):
        return _by_arguments(name, args)
    if layer.by == "script" and ("debugpy" in (parts := components(layer.path)) or "pydevd" in parts):
        return "debugger"
    if layer.by == "module":
        return _MENTIONS.get(name.partition(".")[0].lower() if name.isascii() else name)
    return None


def _by_arguments(name: str, args: tuple[str, ...]) -> str | None:
    """Programs that are many things: what their first words make of them."""
    first = next((word for word in args if not word.startswith("-")), "")
    if name == "tsc":
        return "linter" if "--noEmit" in args else None
    if name == "node":
        own = args[: args.index(first)] if first else args
        if "--test" in own or "(vitest" in args[:1]:
            return "test runner"
        return "debugger" if first in ("inspect", "debug") and args[:1] == (first,) else None
    if first in ("test", "e2e", "bench", "nextest"):
        return "test runner"
    if first in ("lint", "fmt", "vet", "clippy", "check", "format"):
        return "linter"
    return "language server" if first == "lsp" else None


def _script_of_a_tool(args: tuple[str, ...]) -> str | None:
    """`npm test`, `yarn lint`, `pnpm run test:watch`; and what installs."""
    words = [word for word in args if not word.startswith("-")]
    if words[:1] in (["run"], ["run-script"]):
        words = words[1:]
    if not words:
        return None
    first = words[0]
    if words[0] in (
        "install",
        "i",
        "ci",
        "add",
        "remove",
        "update",
        "upgrade",
        "link",
        "publish",
        "view",
        "audit",
    ):
        return "package installer"
    if first in ("t", "tst"):
        return "test runner"
    return _SCRIPTS_OF_TOOLS.get(first.partition(":")[0].lower())


def _in_use(found: tuple[Layer, ...], *, terminal: bool) -> str | None:
    if not found:
        return None
    last = found[-1]
    if last.program in SHELLS and not _runs_something(last.args):
        return "shell in use"
    if last.program in _CONSOLES:
        return "shell in use"
    if terminal and last.program in _REPLS and all(word.startswith("-") and word != "-" for word in last.args):
        return "shell in use" if not _code(last.args) else None
    return None


def _runs_something(args: tuple[str, ...]) -> bool:
    """Whether a shell was given a script or a string; without one it reads what somebody types."""
    from devtasks.interpreters import run_by  # noqa: PLC0415

    return run_by("sh", args) is not None


def _code(args: tuple[str, ...]) -> bool:
    return any(word.startswith(("-c", "-e", "-p", "-S", "--eval", "--print")) for word in args)


def _daemon_class(layer: Layer) -> str | None:
    """Daemons that Java runs: the class is among the first words that are no options."""
    for word in (layer.path, *layer.args):
        if word.startswith(_DAEMON_CLASSES):
            return "editor" if word.startswith("com.intellij.") else "shared daemon"
    return None


def _editors_part(argv: Sequence[str]) -> str | None:
    """Editors run their helpers from folders of their own, often with a plain node or python."""
    for word in argv[:3]:
        if "ode Helper" in word[:512] or "JetBrains" in word[:512]:
            return "editor"
        if not word.startswith("-") and not _EDITOR_SET.isdisjoint(components(word[:512])):
            return "editor"
    return None


_EDITOR_SET = frozenset(_EDITOR_FOLDERS)
_BROWSER_BUNDLES = (
    "Google Chrome",
    "Chromium.app",
    "Firefox.app",
    "Safari.app",
    "Brave Browser",
    "Microsoft Edge",
)
_TERMINAL_BUNDLES = ("iTerm.app", "Terminal.app", "Warp.app", "Ghostty.app", "kitty.app", "Alacritty.app")


def _browsers_part(argv: Sequence[str]) -> str | None:
    first = argv[0][:512] if argv else ""
    if any(bundle in first for bundle in _BROWSER_BUNDLES):
        return "browser"
    return "terminal" if any(bundle in first for bundle in _TERMINAL_BUNDLES) else None
