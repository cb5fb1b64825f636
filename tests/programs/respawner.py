"""A supervisor that has a new child within 20 ms of the old one's death, and takes no TERM."""

import os
import signal
import sys
import time

import stage

stubborn = "--stubborn" in sys.argv
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
stage.announce("main")
while True:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stage.announce("child")
        stage.serve(None)
    os.waitpid(pid, 0)
    time.sleep(0.01)
