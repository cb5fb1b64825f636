"""A server with a descendant that forks and exits every 2 ms. $STAGE/heartbeat holds the latest PID."""

import os
import sys
import time

import stage

listener = stage.listen(int(sys.argv[2]))
if os.fork() == 0:
    listener.close()
    os.setsid()
    heartbeat = os.open(f"{stage.FOLDER}/heartbeat", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    while True:
        os.pwrite(heartbeat, b"%-20d\n" % os.getpid(), 0)
        time.sleep(0.002)
        if os.path.exists(f"{stage.FOLDER}/end") or os.fork():
            os._exit(0)
stage.announce("main")
stage.serve(listener)
