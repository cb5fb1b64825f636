import os
import pathlib
import signal

pathlib.Path("worker.started").write_text(os.environ["QUEUE"])
signal.pause()
