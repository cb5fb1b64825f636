"""What becomes of the exported units: started, killed, restarted, given up and stopped. Prints one JSON object."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, check=False)


def shown(unit: str) -> dict[str, str]:
    lines = systemctl("show", unit).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def until(holds: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def main(root: str) -> None:
    web, crasher = "shop-web.service", "shop-crasher.service"
    started = systemctl("start", "shop.target")
    said: dict[str, Any] = {"start": [started.returncode, started.stderr]}
    until(lambda: shown(web)["ActiveState"] == "active")
    first = shown(web)
    pid = int(first["MainPID"])
    said["argv"] = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
    environ = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    said["env"] = dict(one.split("=", 1) for one in environ if "=" in one)
    said["cwd"] = str(Path(f"/proc/{pid}/cwd").readlink())
    said["limits"] = Path(f"/proc/{pid}/limits").read_text()
    said["answers"] = Path(root, "answered").exists()  # ExecStartPost has asked before it became active
    said["kill"] = systemctl("kill", "--kill-whom=main", "--signal=KILL", web).returncode
    until(lambda: shown(web)["NRestarts"] == "1" and shown(web)["ActiveState"] == "active")
    again = shown(web)
    said["restarted"] = [again["NRestarts"], again["ActiveState"], again["MainPID"] != first["MainPID"]]
    until(lambda: shown(crasher)["ActiveState"] == "failed")  # between two starts it is "activating"
    said["crasher"] = [shown(crasher)["ActiveState"], shown(crasher)["NRestarts"]]
    said["stop"] = systemctl("stop", "shop.target").returncode
    until(lambda: shown(web)["ActiveState"] in ("inactive", "failed"))
    said["stopped"] = [shown(web)["ActiveState"], shown(web)["Result"]]
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
