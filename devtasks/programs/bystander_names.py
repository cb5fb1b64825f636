"""Names of programs that only mention services, and of those that a person or all projects use.

Kept as words, so that adding one is adding a word. A name is as `names.program_name` gives it: lower case,
without folder, `.exe` and version.
"""

from __future__ import annotations

from devtasks.programs.names import TASK_RUNNERS, word_set


def _names(kind: str, text: str) -> dict[str, str]:
    return dict.fromkeys(text.split(), kind)


EDITORS = _names(
    "editor",
    """
    atom bluefish brackets clion clion64 code code-insiders code-oss code-server code-tunnel codium cursor
    datagrip eclipse ed emacs emacs-gtk emacs-nox emacsclient ex fleet geany gedit gnome-text-editor
    goland gvim helix hx idea idea64 intellij jed joe kak kakoune kate kwrite lapce lvim mate mcedit micro
    mvim nano ne neovide notepad notepad++ notepadqq nvi nvim nvim-qt openvscode-server phpstorm pico
    positron pycharm pycharm-community pycharm-professional pycharm64 qtcreator rider rubymine rustrover
    rvim spyder subl sublime_text textadept textedit trae vi view vim vim.basic vim.gtk3 vim.nox vim.tiny
    vimdiff vscodium webstorm webstorm64 windsurf xcode xed xemacs zed zed-editor zeditor
    """,
)
PAGERS = _names(
    "pager",
    """
    bat batcat cat ccze glow head hexdump journalctl less lnav mdcat moar more most multitail od tac tail
    xxd zcat zless
    """,
)
SEARCH = _names(
    "search tool",
    """
    ack ag awk btm btop colordiff cp cut delta diff difft du egrep exa eza fd fdfind fgrep file find fkill
    fuser fzf gawk glances grep gzip htop iftop jq kill-port killall ll locate ls lsof mawk meld mv nawk
    netstat pgrep pkill procs ps pstree rg ripgrep rm sed sk sort ss stat strings tar tee top tr tree
    ugrep uniq unzip watch wc xargs yq zgrep zip
    """,
)
MULTIPLEXERS = _names(
    "multiplexer",
    """
    abduco byobu byobu-tmux dtach dvtm mtm screen tmate tmux tmuxinator tmuxp zellij
    """,
)
REMOTE = _names(
    "ssh",
    """
    autossh dropbear et etserver etterminal mosh mosh-client mosh-server mutagen plink putty rclone rsync
    scp sftp sftp-server slogin ssh ssh-copy-id sshd sshd-session sshfs sshpass unison
    """,
)
VERSIONS = _names(
    "version control",
    """
    bzr cvs darcs fossil gh git git-gui git-lfs git-remote-https gitg gitk gitui glab got hg hub jj
    lazygit p4 pijul sl svn tig
    """,
)
CONTAINERS = _names(
    "container client",
    """
    buildah colima crictl ctr devcontainer devspace distrobox docker docker-buildx docker-compose
    docker-machine finch helm k3d k3s k9s kind kubectl kubectx lazydocker lima limactl lxc lxc-attach
    lxc-execute machinectl minikube multipass nerdctl nsenter oc orb orbctl podman podman-compose
    podman-remote skaffold stern systemd-nspawn telepresence tilt toolbox vagrant
    """,
)
PROXIES = _names(
    "container proxy",
    """
    aardvark-dns com.docker.backend com.docker.build com.docker.vpnkit conmon containerd containerd-shim
    containerd-shim-runc-v2 docker-proxy dockerd fuse-overlayfs gvproxy netavark passt passt.avx2 pasta
    pasta.avx2 rootlesskit rootlessport rootlessport-child slirp4netns vpnkit vpnkit-bridge
    """,
)
DEBUGGERS = _names(
    "debugger",
    """
    austin bpftrace callgrind cgdb ddd debugpy debugpy-adapter delve dlv drgdb dtrace dtruss fil-profile
    filprofiler gdb gdbserver heaptrack ipdb kernprof lldb lldb-server ltrace memray mprof ndb
    node-inspect pdb perf pudb pudb3 py-spy pydevd pydevd.py pyinstrument rdbg rr samply sandbox-exec
    scalene strace uftrace valgrind viztracer vizviewer yappi
    """,
)
TEST_RUNNERS = _names(
    "test runner",
    """
    artillery ava avocado bats behave c8 codeceptjs ctest cucumber cypress gotestsum jasmine jest karma
    lettuce locust mocha mutmut nightwatch nose nose2 nosetests nyc pest phpunit playwright protractor ptw
    py.test pytest pytest-watch pytest-watcher qunit robot rspec slipcover stestr test-storybook testcafe
    testem tox trial uvu vitest wdio web-test-runner wtr zope-testrunner
    """,
)
LINTERS = _names(
    "linter",
    """
    autoflake autopep8 bandit basedmypy biome black blackd codespell commitlint cspell deptry
    detect-secrets djlint dmypy docformatter dprint eslint eslint_d flake8 golangci-lint hadolint husky
    interrogate isort jscpd jshint knip lefthook lint-staged markdownlint mypy oxlint pep8 pip-audit
    pre-commit prek prettier prettierd prospector pycodestyle pydocstyle pyflakes pylama pylint pyre
    pytype pyupgrade radon refurb rome rubocop rubyfmt ruff semgrep shellcheck shfmt sqlfluff stylelint
    svelte-check tslint ty vue-tsc vulture yamllint yapf zuban
    """,
)
LANGUAGE_SERVERS = _names(
    "language server",
    """
    basedpyright basedpyright-langserver ccls clangd copilot copilot-language-server efm-langserver
    eslintserver.js gopls intelephense jdtls jedi-language-server marksman metals omnisharp pylance pyls
    pylsp pyrefly pyright pyright-langserver rls ruby-lsp ruff-lsp rust-analyzer solargraph sourcekit-lsp
    sourcery tabnine taplo texlab tsserver tsserver.js typingsinstaller typingsinstaller.js vls volar
    vscode-css-language-server vtsls zls
    """,
)
DATABASE_CLIENTS = _names(
    "database client",
    """
    iredis litecli mariadb mongo mongosh mycli mysql mysqldump pg_dump pg_restore pgcli psql redis-cli
    sqlcmd sqlite3 usql valkey-cli
    """,
)
WEB_CLIENTS = _names(
    "web client",
    """
    ab aria2c curl curlie hey http httpie https k6 oha siege vegeta websocat wget wrk wscat xh
    """,
)
INSTALLERS = _names(
    "package installer",
    """
    apt apt-get brew dnf ncu npm-check-updates pacman pip pip-compile pip-sync pip-tools pipx yum
    """,
)
TERMINALS = _names(
    "terminal",
    """
    alacritty blackbox conhost contour cool-retro-term deepin-terminal eterm foot footclient ghostty
    gnome-terminal gnome-terminal-server guake hyper iterm2 kgx kitty konsole lilyterm lxterminal
    mate-terminal mintty openconsole ptyxis qterminal rio rxvt sakura st tabby terminal terminator
    terminology tilda tilix urxvt urxvtd uxterm warp wezterm wezterm-gui wezterm-mux-server
    windowsterminal wt xfce4-terminal xterm yakuake
    """,
)
BROWSERS = _names(
    "browser",
    """
    arc brave brave-browser chrome chrome-headless-shell chrome_crashpad_handler chromedriver chromium
    chromium-browser epiphany falkon firefox firefox-bin firefox-esr geckodriver google-chrome
    google-chrome-beta google-chrome-stable headless_shell iexplore konqueror librewolf microsoft-edge
    midori msedge msedgewebview2 opera plugin-container qutebrowser safari thorium vivaldi vivaldi-bin
    waterfox webcontent x-www-browser zen zen-browser
    """,
)
DAEMONS = _names(
    "shared daemon",
    """
    adb at-spi-bus-launcher bazel bazelisk buck2 buckd buildkitd colima conmon containerd containerd-shim
    containerd-shim-runc-v2 dbus-daemon dbus-launch dirmngr distccd dockerd gnome-keyring-daemon gpg-agent
    gradle gvfsd keyboxd kwalletd5 kwalletd6 limactl mvnd mvnd-daemon nailgun pants pantsd pcscd
    qemu-system-aarch64 qemu-system-x86_64 sccache scdaemon ssh-agent watchman xdg-desktop-portal
    """,
)
CONSOLES = word_set(
    """
    bpython ghci groovysh iex ipython irb jshell jupyter-console pry ptipython ptpython rconsole utop
    """
)

_TASK_RUNNERS = dict.fromkeys(TASK_RUNNERS, "task runner")
MENTIONS: dict[str, str] = {
    **EDITORS, **PAGERS, **SEARCH, **MULTIPLEXERS, **REMOTE, **VERSIONS, **CONTAINERS, **PROXIES, **DEBUGGERS,
    **TEST_RUNNERS, **LINTERS, **LANGUAGE_SERVERS, **DATABASE_CLIENTS, **WEB_CLIENTS, **INSTALLERS,
    **_TASK_RUNNERS,
}  # fmt: skip
USERS_OWN: dict[str, str] = {
    **{name: kind for name, kind in EDITORS.items() if name not in ("ed", "ex")},
    **MULTIPLEXERS, **TERMINALS, **BROWSERS, **DAEMONS,
}  # fmt: skip

# Of Python's modules only these: a project's own package may be called `watch` or `tree`.
MODULES: dict[str, str] = {
    **DEBUGGERS, **TEST_RUNNERS, **LINTERS, **LANGUAGE_SERVERS, **INSTALLERS, **_TASK_RUNNERS,
    **_names("debugger", "bdb cprofile profile trace tracemalloc"),
    **_names("test runner", "doctest unittest xdoctest"),
    **_names("editor", "idlelib"), **_names("shell in use", "code ipython bpython ptpython konch"),
}  # fmt: skip

# A script of package.json is known by its name up to the first colon: `test:watch`.
PACKAGE_SCRIPTS: dict[str, str] = {
    **_names("test runner", "test tests e2e unit spec coverage"),
    **_names("linter", "lint format fmt typecheck type-check check types tsc prettier eslint"),
}

EDITOR_FOLDERS = word_set(
    """
    .cursor .cursor-server .vscode .vscode-insiders .vscode-oss .vscode-remote .vscode-server
    .vscode-server-insiders .windsurf .windsurf-server .zed_server
    """
)
BUNDLES = {
    "Code Helper": "editor", "JetBrains": "editor", "Visual Studio Code.app": "editor", "Google Chrome": "browser",
    "Chromium.app": "browser", "Firefox.app": "browser", "Safari.app": "browser", "Brave Browser": "browser",
    "Microsoft Edge": "browser", "iTerm.app": "terminal", "Terminal.app": "terminal", "Warp.app": "terminal",
    "Ghostty.app": "terminal",
}  # fmt: skip
JAVA_CLASSES = {
    "com.intellij.": "editor", "org.gradle.launcher.daemon.": "shared daemon",
    "org.gradle.wrapper.": "shared daemon",
    "org.jetbrains.kotlin.daemon.": "shared daemon", "org.mvndaemon.": "shared daemon",
}  # fmt: skip
