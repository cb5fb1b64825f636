"""A systemd of one's own, in namespaces where nobody else sees it: `under_systemd.py UNITS COMMAND ...`.

Run as the first process of a PID and a mount namespace. Starts a user manager that knows the units in the folder
UNITS, runs COMMAND, and ends with its exit code; the namespace takes everything else with it.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

MANAGERS = ("/lib/systemd/systemd", "/usr/lib/systemd/systemd")


def main(units: str, *command: str) -> int:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    home, runtime = Path("/run/home"), Path("/run/user/0")
    for folder in (Path("/run/systemd/system"), runtime, home / ".config/systemd"):
        folder.mkdir(parents=True)
    runtime.chmod(0o700)
    shutil.copytree(units, home / ".config/systemd/user")
    environ = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
    for name in ("XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "NOTIFY_SOCKET"):
        environ.pop(name, None)
    manager = next(path for path in MANAGERS if Path(path).exists())
    with open("/run/log", "wb") as log:
        subprocess.Popen([manager, "--user", "--log-target=console"], env=environ, stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while not (runtime / "systemd/private").exists():
        if time.monotonic() > deadline:
            print(Path("/run/log").read_text(errors="replace")[-2000:], file=sys.stderr)
            return 77
        time.sleep(0.05)
    return subprocess.run(command, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
