"""A container engine's command line, for what no engine here can run: `docker` or `podman`, as it is called.

Its containers are rows of $ENGINE_STATE/NAME.json, and one that runs is a process that nobody may signal but this
program. $ENGINE_STATE/mode makes it misbehave: away, hang, babble, flood, deaf (it stops nothing),
composeless.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["ENGINE_STATE"])
ENGINE = os.path.basename(sys.argv[0])


def load(name: str) -> dict:
    """By name or by number."""
    try:
        rows = [json.loads(file.read_text()) for file in STATE.glob("*.json")]
        return next(row for row in rows if name in (row["Name"], row["Id"]))
    except StopIteration:
        sys.exit(
            f"Error: No such container: {name}" if words[0] != "inspect" else f"Error: No such object: {name}"
        )


def save(row: dict) -> None:
    temporary = STATE / f".{row['Name']}.{os.getpid()}"
    temporary.write_text(json.dumps(row))
    temporary.rename(STATE / f"{row['Name']}.json")


def start(name: str) -> None:
    row = load(name)
    if row["State"]["Status"] == "running":
        return
    child = subprocess.Popen(
        [sys.executable, "-c", "import time\nwhile True: time.sleep(1)", f"container-{name}"],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime())
    row["State"] |= {"Status": "running", "Pid": child.pid, "StartedAt": stamp, "ExitCode": 0}
    save(row)


def end(name: str, code: int) -> None:
    row = load(name)
    if row["State"]["Status"] == "running":
        os.kill(row["State"]["Pid"], signal.SIGKILL)
        row["State"] |= {"Status": "exited", "Pid": 0, "ExitCode": code}
        save(row)


with open(STATE / "calls", "a") as calls:
    calls.write(" ".join([ENGINE, *sys.argv[1:]]) + "\n")
mode = (STATE / "mode").read_text().strip() if (STATE / "mode").exists() else ""
if mode == "away":
    sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
if mode == "hang":
    time.sleep(600)
if mode == "babble":
    print('[{"Id": "\x1b[2J", "State": {"Status": "running"}, "Name": "../x"}]')
    sys.exit(0)
if mode == "flood":
    while True:
        sys.stdout.write("x" * 65536)

words = sys.argv[1:]
composed = words[:1] == ["compose"]
if composed and mode == "composeless":
    sys.exit("unknown flag: --all\nSee 'docker --help'")
if composed:
    words = words[1:]
name = words[-1]
match words[0]:
    case "inspect":
        print(json.dumps([load(one) for one in words[3:] if not one.startswith("-")]))
    case "ps" if composed:
        print(load(name)["Id"])
    case "start" | "up":
        start(name)
    case "stop" | "kill" if mode != "deaf":
        end(name, 137 if words[0] == "kill" else 0)
    case "logs":
        count = int(words[words.index("--tail") + 1])
        print("\n".join([f"{name} said \x1b[31m{number}" for number in range(30)][-count:]))
    case "top":
        pid = load(words[1])["State"]["Pid"]
        print("PID PPID HPID COMMAND" if ENGINE == "podman" else "PID PPID COMMAND")
        print(f"1 0 {pid} postgres -D /data" if ENGINE == "podman" else f"{pid} 1 postgres -D /data")
