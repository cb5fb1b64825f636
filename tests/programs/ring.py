"""Twenty processes, each in a session of its own, that replace each other when one dies."""

import mmap
import os
import signal
import struct
import time

import stage

COUNT = 20
table = mmap.mmap(-1, 8 * COUNT)


def living(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def spawn(slot: int) -> None:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        struct.pack_into("q", table, 8 * slot, os.getpid())
        stage.announce(f"member-{slot}")
        watch(slot)
    struct.pack_into("q", table, 8 * slot, pid)


def watch(slot: int) -> None:
    while not os.path.exists(f"{stage.FOLDER}/end"):
        for step in (1, 7):
            other = (slot + step) % COUNT
            if not living(struct.unpack_from("q", table, 8 * other)[0]):
                spawn(other)
        time.sleep(0.01)
    os._exit(0)


signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody's zombie looks alive
struct.pack_into("q", table, 0, os.getpid())
for number in range(1, COUNT):
    spawn(number)
stage.announce("main")
watch(0)
