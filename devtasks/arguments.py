"""The positional words, ports and names in the arguments of known programs, and of unknown ones as far as it goes.

Whether the word behind an option that nobody here knows is its value cannot be told: such a word is
*ambiguous*, and two command lines agree if some reading of their ambiguous words makes them agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_ADDRESS = re.compile(r"(?:.*:)?(\d{1,5})", re.DOTALL)
_ATTACHED = re.compile(r"-[A-Za-z]\d+")


class Word(NamedTuple):
    """A word that is positional, or may be."""

    text: str
    certain: bool = True


class Arguments(NamedTuple):
    """What was read. `names` are options that tell one service from another of the same program."""

    words: tuple[Word, ...]
    ports: frozenset[int] = frozenset()
    names: frozenset[tuple[str, str]] = frozenset()


def table(
    *, flags: str = "", values: str = "", port: str = "", bind: str = "", names: str = ""
) -> Mapping[str, str]:
    """Option to what it takes: nothing, any value, a port, an address with a port, or a telling name."""
    kinds = {"flag": flags, "value": values, "port": port, "bind": bind, "name": names}
    return {option: kind for kind, options in kinds.items() for option in options.split()}


COMMON = table(
    flags="--reload --debug --verbose --quiet --version --help --dev --prod --production",
    port="--port --http-port --server-port --server.port",
    bind="--bind --listen --addr --address",
)

TABLES: Mapping[str, Mapping[str, str]] = {
    "uvicorn": table(
        flags="--factory --use-colors --access-log --proxy-headers --server-header --date-header",
        values="--host --uds --fd --reload-dir --reload-include --reload-exclude --reload-delay --workers --loop --http --ws "
        "--ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout --ws-per-message-deflate --lifespan --interface "
        "--env-file --log-config --log-level --forwarded-allow-ips --root-path --limit-concurrency --backlog "
        "--limit-max-requests --timeout-keep-alive --timeout-graceful-shutdown --timeout-worker-healthcheck --ssl-keyfile "
        "--ssl-certfile --ssl-keyfile-password --ssl-version --ssl-cert-reqs --ssl-ca-certs --ssl-ciphers --header --app-dir "
        "--h11-max-incomplete-event-size",
    ),
    "gunicorn": table(
        flags="--preload -D --daemon --capture-output -R --enable-stdio-inheritance --spew --check-config --print-config "
        "--no-sendfile --reuse-port --proxy-protocol -S --no-substitute --syslog -h -v",
        values="-c --config -w --workers -k --worker-class --threads -t --timeout -p --pid -u --user -g --group -n --name "
        "-e --env -m --umask --log-level --access-logfile --error-logfile --log-file --log-config --chdir "
        "--graceful-timeout --keep-alive --max-requests --max-requests-jitter --backlog --worker-connections "
        "--worker-tmp-dir --forwarded-allow-ips --pythonpath --paste --certfile --keyfile --ca-certs --reload-engine "
        "--reload-extra-file --access-logformat --logger-class --statsd-host --statsd-prefix --limit-request-line",
        bind="-b --bind",
    ),
    "hypercorn": table(
        flags="--h2-max-concurrent-streams",
        values="-w --workers -k --worker-class -c --config --log-level --access-logfile --access-log --error-logfile --backlog "
        "--ca-certs --certfile --keyfile --keep-alive --graceful-timeout -p --pid --root-path --server-name -g --group "
        "-u --user -m --umask --websocket-ping-interval --insecure-bind --quic-bind",
        bind="-b --bind",
    ),
    "daphne": table(
        flags="--proxy-headers",
        values="-b --bind -u --unix-socket -e --endpoint --fd -v --verbosity -t --http-timeout --access-log --root-path "
        "--websocket_timeout --websocket_connect_timeout --application-close-timeout --ping-interval --ping-timeout "
        "--server-name",
        port="-p --port",
    ),
    "granian": table(
        flags="--access-log --factory --http1-keep-alive",
        values="--host --interface --http --workers --threads --blocking-threads --loop --log-level --log-config --working-dir "
        "--env-files --backlog --backpressure --ssl-certificate --ssl-keyfile --url-path-prefix --reload-paths",
        port="-p --port",
    ),
    "fastapi": table(
        flags="--proxy-headers",
        values="--host --root-path --app --workers --entrypoint -e --reload-dir --forwarded-allow-ips",
    ),
    "flask": table(
        flags="--debugger --with-threads --without-threads",
        values="-A --app -h --host -e --env-file --cert --key --extra-files --exclude-patterns",
        port="-p --port",
    ),
    "manage.py": table(
        flags="--noreload --nothreading --insecure --ipv6 -6 --nostatic --traceback --no-color --force-color --skip-checks "
        "--noinput",
        values="--settings --pythonpath -v --verbosity",
    ),
    "http.server": table(flags="--cgi", values="-b --bind -d --directory -p --protocol --tls-cert --tls-key"),
    "celery": table(
        flags="-B --beat -E --task-events --without-gossip --without-mingle --without-heartbeat -D --detach -q",
        values="-l --loglevel -c --concurrency -P --pool -f --logfile --pidfile -b --broker --result-backend -s --schedule "
        "-S --scheduler --schedule-filename --workdir --config --loader --autoscale --max-tasks-per-child "
        "--time-limit --soft-time-limit --prefetch-multiplier -O --optimization --max-interval",
        names="-A --app -Q --queues -n --hostname",
    ),
    "streamlit": table(values="--server.address --server.headless --server.runOnSave --logger.level --theme.base"),
    "vite": table(
        flags="--cors --strictPort --force --clearScreen -w --watch --ssr --profile",
        values="-c --config --base -l --logLevel -m --mode --outDir --configLoader -f --filter",
    ),
    "next": table(
        flags="--turbo --turbopack --webpack --experimental-https --disable-source-maps --inspect",
        values="-H --hostname --experimental-https-key --experimental-https-cert --experimental-https-ca --keepAliveTimeout "
        "--experimental-upload-trace",
        port="-p --port",
    ),
    "esbuild": table(flags="--watch --bundle --minify --sourcemap --splitting --serve --analyze"),
    "webpack": table(
        flags="-w --watch --hot --open --progress --https",
        values="-c --config --mode --env -d --devtool --host -o --output-path --config-name -t --target --static",
    ),
    "ng": table(
        flags="--open -o --watch --hmr --live-reload --poll", values="-c --configuration --host --proxy-config --project"
    ),
    "php -S": table(bind="-S", values="-t -c -d"),
    "redis-server": table(values="--dir --appendonly --save --requirepass --loglevel --maxmemory --logfile"),
}  # fmt: skip
TABLES = {
    **TABLES, "django-admin": TABLES["manage.py"], "django": TABLES["manage.py"],
    "webpack-dev-server": TABLES["webpack"],
}  # fmt: skip


def read_arguments(program: str, args: Sequence[str]) -> Arguments:
    """Read the arguments of `program`, a name as `names.program_name` gives it."""
    known = TABLES.get(program, {})
    words: list[Word] = []
    ports: set[int] = set()
    names: set[tuple[str, str]] = set()
    index, end = 0, len(args)
    while index < end:
        word = args[index]
        index += 1
        if word == "--":
            words.extend(Word(rest) for rest in args[index:])
            break
        if not word.startswith("-") or word == "-":
            words.append(Word(word))
            continue
        option, equals, value = word.partition("=")
        kind = known.get(option) or COMMON.get(option)
        following = args[index] if index < end else None
        if kind is None and not equals and _ATTACHED.fullmatch(word):
            option, value, equals = word[:2], word[2:], "="
            kind = known.get(option)
        if kind is None and option == "-p":
            kind = "port" if _port(value if equals else following or "") else None
        if kind == "flag" or option.startswith("--no-"):
            continue
        if equals:
            _take(kind, option, value, ports, names)
        elif following is not None and (kind is not None or not following.startswith("-")):
            index += 1
            if kind is None:
                words.append(Word(following, certain=False))
            else:
                _take(kind, option, following, ports, names)
    return Arguments(tuple(words), frozenset(ports), frozenset(names))


def _take(kind: str | None, option: str, value: str, ports: set[int], names: set[tuple[str, str]]) -> None:
    port = _port(value) if kind in ("port", "bind") else None
    if port is not None:
        ports.add(port)
    elif kind == "name":
        names.add((_LONG.get(option, option), value))


_LONG = {"-A": "--app", "-Q": "--queues", "-n": "--hostname"}


def _port(text: str) -> int | None:
    found = _ADDRESS.fullmatch(text)
    return int(found[1]) if found and found[1].isascii() and 0 < int(found[1]) < 65536 else None


def address_port(text: str) -> int | None:
    """The port in `8000`, `0.0.0.0:8000` or `[::]:8000`, None where there is none."""
    return _port(text)


def words_agree(one: Sequence[Word], other: Sequence[Word]) -> bool:
    """Whether some reading of the ambiguous words makes both the same words in the same order."""
    if all(word.certain for word in one) and all(word.certain for word in other):
        return [word.text for word in one] == [word.text for word in other]
    reached = _skipped({0}, one)
    for there in other:
        used = {here + 1 for here in reached if here < len(one) and one[here].text == there.text}
        reached = _skipped(used if there.certain else used | reached, one)
    return len(one) in reached


def _skipped(reached: Iterable[int], words: Sequence[Word]) -> set[int]:
    """With every place that can be had from `reached` by leaving ambiguous words out."""
    found = set(reached)
    for here in sorted(found):
        place = here
        while place < len(words) and not words[place].certain:
            place += 1
            found.add(place)
    return found
