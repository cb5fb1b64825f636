"""Rotate a log as a runner does, again and again: rotate.py ROTATION-MODULE LOG MAX-BYTES."""

import os
import sys
import time

sys.path.insert(0, os.path.dirname(sys.argv[1]))
rotation = __import__("rotation")
folder = os.open(os.path.dirname(sys.argv[2]), os.O_RDONLY | os.O_DIRECTORY)
name = os.path.basename(sys.argv[2])
while True:
    log = os.open(name, os.O_RDWR, dir_fd=folder)
    if not rotation.rotate(folder, name, log, int(sys.argv[3])):
        time.sleep(0.001)
    os.close(log)
