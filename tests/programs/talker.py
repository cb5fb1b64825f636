"""Serves on a port, and says what is put into `say` beside it: its log is what a test wants it to be."""

import sys
import threading
import time

import stage


def talk() -> None:
    with open(f"{stage.FOLDER}/say", "ab+") as said:
        said.seek(0)
        while True:
            sys.stdout.buffer.write(said.read())
            sys.stdout.buffer.flush()
            time.sleep(0.02)


threading.Thread(target=talk, daemon=True).start()
listener = stage.listen(int(sys.argv[1]))
stage.announce(sys.argv[2])
stage.serve(listener)
