"""The dashboard's page in a real browser: what a person sees, presses and reads."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from toolbox import PATIENCE_SECONDS, PYTHON, Being, Scratch, Stage, eventually, free_port

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = [
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    "\x1b[2J\x1b]0;owned\x07 escape",
    "b\udcc3(d utf-8",
    "long " + "x" * 1_000_000,
]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the browser's driver, not ours
]


class Site:
    """A project with two services and a dashboard, for all tests of this module."""

    def __init__(self, stage: Stage, root: Path) -> None:
        self.stage = stage
        self.scratch = Scratch(stage, root)
        self.scratch.install("talker.py")
        self.ports = {"backend": free_port(), "worker": free_port()}
        self.scratch.declare({
            name: {"command": [PYTHON, "talker.py", "{port}", name], "port": port}
            for name, port in self.ports.items()
        })  # fmt: skip
        self.port = free_port()
        self.server: subprocess.Popen[str] | None = None

    def open(self) -> str:
        """Start the dashboard; the address that it prints."""
        command = [PYTHON, "-m", "devtasks", "dashboard", "--port", str(self.port)]
        self.server = self.stage.popen(command, self.scratch.root, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        for line in self.server.stdout:
            if found := re.search(r"https?://\S+#token=\S+", line):
                return found[0]
        raise AssertionError("it prints no address")

    def shut(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGINT)
        self.server.wait(PATIENCE_SECONDS)
        assert self.server.stdout is not None
        self.server.stdout.close()

    def say(self, *lines: str) -> None:
        with (self.stage.folder / "say").open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


@pytest.fixture(scope="module")
def site(module_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(module_stage, tmp_path_factory.mktemp("page") / "shop")
    yield site
    site.scratch.run("force-clean")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(site: Site, browser: Any) -> Iterator[Any]:
    """A context with the cookie."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.open())
    page.get_by_role("button", name="backend: log and processes").wait_for()
    page.close()
    yield context
    context.close()
    site.shut()


class Watched:
    """A page, and what nobody may see on it."""

    def __init__(self, page: Any, port: int) -> None:
        self.page = page
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url, port))

    def _asked(self, url: str, port: int) -> None:
        if urlsplit(url).netloc != f"127.0.0.1:{port}":
            self.elsewhere.append(url)


@pytest.fixture
def page(site: Site, signed_in: Any) -> Iterator[Any]:
    """The page, both services running; at the end no error was seen, and nobody else was asked for anything."""
    site.scratch.run("start")
    page = signed_in.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    watched = Watched(page, site.port)
    page.goto(f"http://127.0.0.1:{site.port}/")
    state(page, "backend", "running")
    yield page
    page.close()
    assert not watched.errors
    assert not watched.elsewhere


def row(page: Any, name: str) -> Any:
    return page.locator(f'tr[data-service="{name}"]')


def state(page: Any, name: str, wanted: str) -> None:
    page.locator(f'tr[data-service="{name}"][data-state="{wanted}"]').wait_for()


def press(page: Any, name: str, action: str) -> Any:
    """Press a button of a service's row; the question that follows."""
    row(page, name).get_by_role("button", name=f"{action} {name}", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    return dialog


def main(site: Site, name: str = "backend") -> Being:
    return site.stage.one(name)


def unseen(condition: Callable[[], bool], page: Any, message: str) -> None:
    """Wait while the browser goes on."""

    def look() -> bool:
        page.wait_for_timeout(10)
        return condition()

    eventually(look, message)


# --- what runs, is it well ---------------------------------------------------------------------------


def test_the_page_says_what_runs(site: Site, page: Any) -> None:
    cells = row(page, "backend").inner_text()
    assert str(main(site).pid) in cells
    assert str(site.ports["backend"]) in cells
    assert page.locator("#summary").inner_text() == "2 of 2 running"
    assert page.title().startswith("shop")
    assert "token" not in page.url


def test_a_service_killed_outside_is_seen(site: Site, page: Any) -> None:
    main(site).kill()
    page.locator('tr[data-service="backend"]:not([data-state="running"])').wait_for()
    assert "1 of 2 running" in page.locator("#summary").inner_text()


def test_stop_asks_first_and_names_whom_it_signals(site: Site, page: Any) -> None:
    one = main(site)
    dialog = press(page, "backend", "stop")
    assert str(one.pid) in dialog.inner_text()
    assert "talker.py" in dialog.inner_text()
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="hidden")
    assert one.alive

    press(page, "backend", "stop").get_by_role("button", name="Stop backend").click()
    state(page, "backend", "stopped")
    assert not one.alive
    assert main(site, "worker").alive
    page.get_by_text("stop backend: 1 process ended").wait_for()


def test_escape_is_no(site: Site, page: Any) -> None:
    one = main(site)
    dialog = press(page, "backend", "force-clean")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert one.alive


def test_start_and_restart(site: Site, page: Any) -> None:
    site.scratch.run("stop", "backend")
    state(page, "backend", "stopped")
    row(page, "backend").get_by_role("button", name="start backend", exact=True).click()
    state(page, "backend", "running")
    first = main(site)
    press(page, "backend", "restart").get_by_role("button", name="Restart backend").click()
    unseen(lambda: not first.alive and bool(site.stage.living("backend")), page, "another one runs")
    state(page, "backend", "running")


def test_a_problem_is_told_in_the_words_of_the_command_line(site: Site, signed_in: Any, page: Any) -> None:
    other = signed_in.new_page()  # its console says what the browser says of a 409
    body = '{"type": "urn:devtasks:busy", "title": "Busy", "status": 409, "detail": "backend is being restarted"}'
    other.route(
        "**/api/services/backend/stop",
        lambda route: route.fulfill(status=409, content_type="application/problem+json", body=body),
    )
    try:
        other.goto(page.url)
        row(other, "backend").get_by_role("button", name="stop backend", exact=True).click()
        other.get_by_text("stop backend: backend is being restarted").wait_for()
        assert main(site).alive
    finally:
        other.close()


# --- the drawer --------------------------------------------------------------------------------------


def open_drawer(page: Any, name: str = "backend") -> Any:
    page.get_by_role("button", name=f"{name}: log and processes").click()
    drawer = page.locator("#drawer")
    drawer.wait_for()
    return drawer


def test_the_log_is_followed_searched_and_paused(site: Site, page: Any) -> None:
    drawer = open_drawer(page)
    site.say("first needle", "second")
    drawer.get_by_text("second", exact=True).last.wait_for()
    page.locator("#log-search").fill("NEEDLE")
    drawer.get_by_text("second", exact=True).last.wait_for(state="hidden")
    assert drawer.locator("mark").first.inner_text() == "needle"
    page.locator("#log-search").fill("")
    pause = page.locator("#log-pause")
    pause.click()
    site.say("while paused")
    page.get_by_text("Go on (1 new)").wait_for()
    assert not drawer.get_by_text("while paused").count()
    pause.click()
    drawer.get_by_text("while paused").first.wait_for()


def test_hostile_lines_are_text(site: Site, page: Any) -> None:
    drawer = open_drawer(page)
    site.say(*HOSTILE, "after all that")
    drawer.get_by_text("after all that").last.wait_for()
    text = page.locator("#log-lines").inner_text()
    assert "<script>document.title" in text
    assert "\\x1b[2J" in text
    assert "\x1b" not in text
    assert "owned" not in page.title()
    assert page.locator("#log-lines img, #log-lines script").count() == 0


def test_processes_come_with_their_evidence(site: Site, page: Any) -> None:
    drawer = open_drawer(page)
    drawer.get_by_role("tab", name="Processes").click()
    tree = page.locator("#panel-processes")
    tree.get_by_text("pid-file").first.wait_for()
    assert str(main(site).pid) in tree.inner_text()
    assert "talker.py" in tree.inner_text()


# --- what happened, ports ----------------------------------------------------------------------------


def test_events_and_ports(site: Site, page: Any) -> None:
    page.locator('#timeline [data-kind="start"]').first.wait_for()
    port = page.locator("#ports li", has_text=str(site.ports["backend"]))
    port.get_by_text("ours").wait_for()
    assert str(main(site).pid) in port.inner_text()
    site.scratch.run("stop", "worker")
    page.locator("#ports li", has_text=str(site.ports["worker"])).get_by_text("free", exact=True).wait_for()


def test_a_port_is_freed(site: Site, page: Any) -> None:
    one = main(site)
    page.get_by_role("button", name=f"free port {site.ports['backend']}").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert str(one.pid) in dialog.inner_text()
    dialog.get_by_role("button", name=re.compile("^Free")).click()
    state(page, "backend", "stopped")
    assert not one.alive


# --- for everybody -----------------------------------------------------------------------------------


def test_it_works_with_the_keyboard(site: Site, page: Any) -> None:
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.locator("#drawer").wait_for()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "log-search"
    page.keyboard.press("Escape")
    page.locator("#drawer").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "backend"
    one = main(site)
    page.keyboard.press("s")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    state(page, "backend", "stopped")
    assert not one.alive
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.usefixtures("page")
def test_axe_finds_nothing(site: Site, signed_in: Any, browser: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # axe is injected as a script, which the page's own policy forbids
    context = browser.new_context(
        bypass_csp=True, color_scheme=scheme, storage_state=signed_in.storage_state(), reduced_motion="reduce"
    )
    try:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{site.port}/")
        state(page, "backend", "running")
        for look in (lambda: None, lambda: open_drawer(page), lambda: page.keyboard.press("?")):
            look()
            found = axe.run(page)
            assert found.violations_count == 0, found.generate_report()
        page.keyboard.press("Escape")
        page.locator("#drawer-close").click()
        press(page, "backend", "stop")
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
    finally:
        context.close()


def test_it_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    open_drawer(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#drawer-close").click()
    press(page, "backend", "stop").get_by_role("button", name="Cancel").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_it_says_that_the_server_is_gone_and_comes_back(site: Site, signed_in: Any, page: Any) -> None:
    other = signed_in.new_page()  # its console says what the browser says of connections that fail
    other.goto(f"http://127.0.0.1:{site.port}/")
    page.goto("about:blank")
    try:
        state(other, "backend", "running")
        site.shut()
        other.get_by_text("The dashboard's server is gone").wait_for()
        site.open()
        other.get_by_text("Connected again").wait_for(timeout=PATIENCE_SECONDS * 1000)
        other.locator("#gone").wait_for(state="hidden")
        state(other, "backend", "running")
    finally:
        other.close()


def test_without_a_session_it_says_what_to_do(site: Site, browser: Any) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{site.port}/#token=wrong")
        page.get_by_text("You are signed out").wait_for()
        assert "token" not in page.url
    finally:
        context.close()
