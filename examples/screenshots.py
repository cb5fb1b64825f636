"""Take the pictures of the dashboard that the README shows: `python -m examples.screenshots`.

Needs the extra `dashboard`, playwright and a Chromium. Starts a small project in a folder of its own, looks at
it in light and in dark, and stops it again.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
DEVTASKS = [sys.executable, "-m", "devtasks"]

PROJECT = """\
project = "shop"

[services.backend]
command = "python -u server.py {port}"
port = 8731

[services.frontend]
command = "python -u -m http.server {port} --bind {host}"
port = 8732
depends_on = ["backend"]

[services.mailer]
command = "python -u worker.py letters"

[services.search]
command = "python -u indexer.py"

[services.worker]
command = "python -u worker.py orders-{instance}"
instances = 2
"""

SERVER = """\
import http.server, subprocess, sys, threading, time
subprocess.Popen([sys.executable, "-u", "worker.py", "cache"])
print("INFO:     Started server process")
print(f"INFO:     Listening on http://127.0.0.1:{sys.argv[1]} (Press CTRL+C to quit)")
def traffic():
    for number in range(10_000):
        route = ("/", "/orders", f"/orders/{1000 + number * 7}", "/health", "/basket")[number % 5]
        print(f'INFO:     127.0.0.1:{40000 + number * 13 % 9999} - "GET {route} HTTP/1.1" 200 OK')
        sum(one * one for one in range(300_000))
        time.sleep(0.3)
threading.Thread(target=traffic, daemon=True).start()
here = "127.0.0.1", int(sys.argv[1])
http.server.ThreadingHTTPServer(here, http.server.SimpleHTTPRequestHandler).serve_forever()
"""

WORKER = """\
import sys, time
kept = []
for number in range(100_000):
    print(f"{sys.argv[1]}: {number + 1} done")
    kept.append(bytearray(400_000 if number % 9 else 0))
    kept = kept[-20:] if number % 9 else []
    sum(one * one for one in range(200_000))
    time.sleep(0.4)
"""

INDEXER = "import elasticsearch_client\n"


def main() -> None:
    """Write docs/images/dashboard-light.png and dashboard-dark.png."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.route(re.compile("/api/(?!events|session)"), lambda route: elsewhere(route, folder))
        page.goto(address)
        page.get_by_role("button", name="backend: log and processes").wait_for()
        page.wait_for_timeout(60_000)  # for the charts to have something to show
        page.screenshot(path=IMAGES / "dashboard-light.png")
        page.emulate_media(color_scheme="dark")
        page.get_by_role("button", name="backend: log and processes").click()
        page.get_by_text("/basket").last.wait_for()
        page.screenshot(path=IMAGES / "dashboard-dark.png")
        browser.close()


def elsewhere(route: Any, folder: str) -> None:
    """The answer as it would be in a home folder: where the picture was taken is nobody's business."""
    answer = route.fetch()
    text = answer.text().replace(folder, "/home/me/shop")
    route.fulfill(response=answer, body=re.sub(r"/[\w./-]*/python", "python", text))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """A small project and its dashboard; the address to open."""
    (folder / "devtasks.toml").write_text(PROJECT)
    (folder / "server.py").write_text(SERVER)
    (folder / "worker.py").write_text(WORKER)
    (folder / "indexer.py").write_text(INDEXER)
    subprocess.run([*DEVTASKS, "start"], cwd=folder, check=False)
    subprocess.run([*DEVTASKS, "stop", "mailer"], cwd=folder, check=True)
    dashboard = subprocess.Popen(
        [*DEVTASKS, "dashboard", "--port", "7788"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    try:
        lines = iter(dashboard.stdout or ())
        yield next(found[0] for line in lines if (found := re.search(r"http://\S+#token=\S+", line)))
    finally:
        dashboard.terminate()
        dashboard.wait()
        subprocess.run([*DEVTASKS, "force-clean"], cwd=folder, check=True)


if __name__ == "__main__":
    main()
