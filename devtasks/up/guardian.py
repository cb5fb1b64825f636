"""The tiny companion of one `up`: `python -I -S guardian.py LABEL`, told on standard input what to do at its end.

Only `up` holds the other end of that pipe. When it ends without a goodbye, `up` was killed: then what it had begun
is stopped, by the nonces of its runs. Killed itself, the guardian harms nothing.

Standard input: lines of words that this process does not need to understand
    execute JSON        a list, program and arguments: what to execute in the end
    estate TEXT         handed to that, first
    run SERVICE NONCE   handed to that too: of each service the last one
    bye                 nothing is left to do
Executed by path, without site packages: it imports next to nothing, because it is there as long as `up` is.
"""

import os
import signal
import sys


def main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP", "SIGBREAK"):
        # what ends `up` gracefully may reach this one, too: it leaves when `up` has
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.chdir(os.path.dirname(os.path.abspath(sys.executable)) if os.name == "nt" else "/")
    words: dict[bytes, bytes] = {}
    runs: dict[bytes, bytes] = {}
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n"):
            break  # killed in the middle of it
        word, _, rest = line.rstrip(b"\n").partition(b" ")
        if word == b"bye":
            return
        if word == b"run":
            service, _, nonce = rest.partition(b" ")
            runs[service] = nonce
        else:
            words[word] = rest
    if runs:
        clear(words, runs)


def clear(words: dict[bytes, bytes], runs: dict[bytes, bytes]) -> None:
    import json
    import subprocess

    lines = [words[b"estate"], *(service + b" " + nonce for service, nonce in runs.items())]
    subprocess.run(json.loads(words[b"execute"]), input=b"\n".join(lines) + b"\n", check=False)


if __name__ == "__main__":
    main()
