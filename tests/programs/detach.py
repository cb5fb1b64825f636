"""`detach.py NAME EXECUTABLE ARGV0 ARGS…`: run a program as nobody's child, in a session of its own.

What a test runner started is spared for that reason alone; a process whose rights are at stake must not be its
descendant. With a NAME other than `-` the process is announced before it becomes the program.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import stage

if os.fork():
    os._exit(0)
os.setsid()
if sys.argv[1] != "-":
    stage.announce(sys.argv[1])
os.execv(sys.argv[2], sys.argv[3:])  # noqa: S606
