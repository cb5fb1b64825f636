"""On Windows, a closed console, a logoff and a shutdown end a process without a signal: here they are Ctrl-Break.

`python console.py ARGUMENTS` is `python -m uvicorn ARGUMENTS` with that. Executed by path, in the interpreter of a
project that need not have devtasks, so nothing of devtasks is imported; with --reload and --workers each child
process imports this file again.
"""

import _thread
import os
import signal
import sys
import time

_CLOSE, _LOGOFF, _SHUTDOWN = 2, 5, 6
_PATIENCE_SECONDS = 30.0  # Windows ends the process itself when its own patience is over, usually after 5
_kept: list[object] = []  # Windows calls it, and Python must not collect it


def closing_is_break() -> None:
    """From now on such an end is a SIGBREAK first. Elsewhere than on Windows this does nothing."""
    if sys.platform == "win32":
        import ctypes

        def handle(event: int) -> bool:
            if event not in (_CLOSE, _LOGOFF, _SHUTDOWN):
                return False
            _thread.interrupt_main(signal.SIGBREAK)
            time.sleep(_PATIENCE_SECONDS)  # returning ends the process; its main thread is shutting down
            return True

        routine = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(handle)
        _kept.append(routine)
        ctypes.windll.kernel32.SetConsoleCtrlHandler(routine, True)


if __name__ in ("__main__", "__mp_main__"):
    closing_is_break()

if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # not the folder of this file, whose modules are no business of an app
    from uvicorn.main import main

    sys.argv[0] = "uvicorn"
    main()
