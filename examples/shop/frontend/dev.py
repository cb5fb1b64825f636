"""The shop's front end: vite where `npm install` has been run in this folder, else Python's file server.

Either way this process becomes the server: nothing stands between it and whoever started it.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def server(host: str, port: str) -> list[str]:
    """The command line to become."""
    npm = shutil.which("npm")
    if npm and (HERE / "node_modules" / "vite").is_dir():
        return [npm, "run", "dev", "--", "--host", host, "--port", port, "--strictPort"]
    print("vite is not installed here: serving with Python (for vite: npm install)", flush=True)
    return [sys.executable, "-m", "http.server", port, "--bind", host, "--directory", str(HERE)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="5173")
    asked = parser.parse_args()
    argv = server(asked.host, asked.port)
    os.execv(argv[0], argv)  # noqa: S606
