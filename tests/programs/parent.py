"""A server with one child of a certain shape: `parent.py SHAPE --port N`.

daemon    left its session, its parents gone
cleared   the same, with an empty environment
group     a process group of its own
keep      DEVTASKS_KEEP=1
nobody    another user (needs root)
plain     nothing special
run       the rest of the line, as a program in a session of its own
"""

import os
import pwd
import sys

import stage

shape, port = sys.argv[1], int(sys.argv[3])
SELF = os.path.abspath(__file__)


def child() -> None:
    """Be the child: announce and wait."""
    stage.announce("child")
    stage.serve(None)


def fork(prepare) -> None:
    if os.fork() == 0:
        try:
            prepare()
        finally:
            os._exit(1)


def daemon(environ: dict[str, str]) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    become_child(environ)


def become_child(environ: dict[str, str]) -> None:
    words = [sys.executable, "-S", "-c", CHILD, stage.FOLDER, os.path.dirname(SELF)]
    os.execve(sys.executable, words, environ)  # noqa: S606


CHILD = """
import sys
sys.path.insert(0, sys.argv[2])
import stage
stage.FOLDER = sys.argv[1]
stage.announce("child")
stage.serve(None)
"""


def group() -> None:
    os.setpgid(0, 0)
    child()


def keep() -> None:
    become_child(dict(os.environ, DEVTASKS_KEEP="1"))


def nobody() -> None:
    user = pwd.getpwnam("nobody")
    stage.announce("child")  # the other user may not write there
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    stage.serve(None)


def run() -> None:
    os.setsid()
    os.execvp(sys.argv[4], sys.argv[4:])  # noqa: S606


SHAPES = {
    "daemon": lambda: daemon(dict(os.environ)),
    "cleared": lambda: daemon({}),
    "group": group,
    "keep": keep,
    "nobody": nobody,
    "plain": child,
    "run": run,
}
listener = stage.listen(port)
fork(SHAPES[shape])
stage.announce("main")
stage.serve(listener)
