"""The options of known programs: what each takes, as far as it matters for telling services apart."""

from __future__ import annotations

from collections.abc import Mapping

Table = Mapping[str, str]


def _table(*, flags: str = "", values: str = "", port: str = "", bind: str = "", names: str = "") -> Table:
    """Option to what it takes: nothing, any value, a port, an address with a port, or a telling name."""
    kinds = {"flag": flags, "value": values, "port": port, "bind": bind, "name": names}
    return {option: kind for kind, options in kinds.items() for option in options.split()}


# For every program, where its own table does not say otherwise.
COMMON = _table(
    flags="--reload --debug --verbose --quiet --version --help --dev --prod --production",
    port="--port --http-port --server-port --server.port",
    bind="--bind --listen --addr --address",
)

_KNOWN: Mapping[str, Table] = {
    "uvicorn": _table(
        flags="--factory --use-colors --access-log --proxy-headers --server-header --date-header",
        values="""
            --host --uds --fd --reload-dir --reload-include --reload-exclude --reload-delay --workers
            --loop --http --ws --ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout
            --ws-per-message-deflate --lifespan --interface --env-file --log-config --log-level
            --forwarded-allow-ips --root-path --limit-concurrency --backlog --limit-max-requests
            --timeout-keep-alive --timeout-graceful-shutdown --timeout-worker-healthcheck --ssl-keyfile
            --ssl-certfile --ssl-keyfile-password --ssl-version --ssl-cert-reqs --ssl-ca-certs
            --ssl-ciphers --header --app-dir --h11-max-incomplete-event-size
        """,
    ),
    "gunicorn": _table(
        flags="""
            --preload -D --daemon --capture-output -R --enable-stdio-inheritance --spew --check-config
            --print-config --no-sendfile --reuse-port --proxy-protocol -S --no-substitute --syslog -h -v
        """,
        values="""
            -c --config -w --workers -k --worker-class --threads -t --timeout -p --pid -u --user -g
            --group -n --name -e --env -m --umask --log-level --access-logfile --error-logfile --log-file
            --log-config --chdir --graceful-timeout --keep-alive --max-requests --max-requests-jitter
            --backlog --worker-connections --worker-tmp-dir --forwarded-allow-ips --pythonpath --paste
            --certfile --keyfile --ca-certs --reload-engine --reload-extra-file --access-logformat
            --logger-class --statsd-host --statsd-prefix --limit-request-line
        """,
        bind="-b --bind",
    ),
    "hypercorn": _table(
        flags="--h2-max-concurrent-streams",
        values="""
            -w --workers -k --worker-class -c --config --log-level --access-logfile --access-log
            --error-logfile --backlog --ca-certs --certfile --keyfile --keep-alive --graceful-timeout -p
            --pid --root-path --server-name -g --group -u --user -m --umask --websocket-ping-interval
            --insecure-bind --quic-bind
        """,
        bind="-b --bind",
    ),
    "daphne": _table(
        flags="--proxy-headers",
        values="""
            -b --bind -u --unix-socket -e --endpoint --fd -v --verbosity -t --http-timeout --access-log
            --root-path --websocket_timeout --websocket_connect_timeout --application-close-timeout
            --ping-interval --ping-timeout --server-name
        """,
        port="-p --port",
    ),
    "granian": _table(
        flags="--access-log --factory --http1-keep-alive",
        values="""
            --host --interface --http --workers --threads --blocking-threads --loop --log-level
            --log-config --working-dir --env-files --backlog --backpressure --ssl-certificate
            --ssl-keyfile --url-path-prefix --reload-paths
        """,
        port="-p --port",
    ),
    "fastapi": _table(
        flags="--proxy-headers",
        values="""
            --host --root-path --app --workers --entrypoint -e --reload-dir --forwarded-allow-ips
        """,
    ),
    "flask": _table(
        flags="--debugger --with-threads --without-threads",
        values="-A --app -h --host -e --env-file --cert --key --extra-files --exclude-patterns",
        port="-p --port",
    ),
    "manage.py": _table(
        flags="""
            --noreload --nothreading --insecure --ipv6 -6 --nostatic --traceback --no-color --force-color
            --skip-checks --noinput
        """,
        values="--settings --pythonpath -v --verbosity",
    ),
    "http.server": _table(
        flags="--cgi",
        values="-b --bind -d --directory -p --protocol --tls-cert --tls-key",
    ),
    "celery": _table(
        flags="""
            -B --beat -E --task-events --without-gossip --without-mingle --without-heartbeat -D --detach
            -q
        """,
        values="""
            -l --loglevel -c --concurrency -P --pool -f --logfile --pidfile -b --broker --result-backend
            -s --schedule -S --scheduler --schedule-filename --workdir --config --loader --autoscale
            --max-tasks-per-child --time-limit --soft-time-limit --prefetch-multiplier -O --optimization
            --max-interval
        """,
        names="-A --app -Q --queues -n --hostname",
    ),
    "streamlit": _table(
        values="--server.address --server.headless --server.runOnSave --logger.level --theme.base",
    ),
    "vite": _table(
        flags="--cors --strictPort --force --clearScreen -w --watch --ssr --profile",
        values="-c --config --base -l --logLevel -m --mode --outDir --configLoader -f --filter",
    ),
    "next": _table(
        flags="--turbo --turbopack --webpack --experimental-https --disable-source-maps --inspect",
        values="""
            -H --hostname --experimental-https-key --experimental-https-cert --experimental-https-ca
            --keepAliveTimeout --experimental-upload-trace
        """,
        port="-p --port",
    ),
    "esbuild": _table(
        flags="--watch --bundle --minify --sourcemap --splitting --serve --analyze",
    ),
    "webpack": _table(
        flags="-w --watch --hot --open --progress --https",
        values="""
            -c --config --mode --env -d --devtool --host -o --output-path --config-name -t --target
            --static
        """,
    ),
    "ng": _table(
        flags="--open -o --watch --hmr --live-reload --poll",
        values="-c --configuration --host --proxy-config --project",
    ),
    "php -S": _table(
        values="-t -c -d",
        bind="-S",
    ),
    "redis-server": _table(
        values="--dir --appendonly --save --requirepass --loglevel --maxmemory --logfile",
    ),
}

TABLES: Mapping[str, Table] = {
    **_KNOWN,
    "django-admin": _KNOWN["manage.py"],
    "django": _KNOWN["manage.py"],
    "webpack-dev-server": _KNOWN["webpack"],
}
LONG_NAMES = {"-A": "--app", "-Q": "--queues", "-n": "--hostname"}
