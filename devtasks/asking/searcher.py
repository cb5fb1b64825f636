"""Search texts for a regular expression, in a process that can be killed: `python -I -S searcher.py LABEL`.

Standard input: a marshalled tuple (expression, texts, seconds). Standard output: "1" where one of them matches,
"0" where none does; nothing when it takes longer than that: the alarm ends it, whoever waits or not.
"""

import marshal
import os
import re
import signal
import warnings


def main() -> None:
    warnings.simplefilter("ignore")
    expression, texts, seconds = marshal.loads(b"".join(iter(lambda: os.read(0, 1 << 16), b"")))
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
    pattern = re.compile(expression)
    os.write(1, b"1" if any(pattern.search(text) for text in texts) else b"0")


if __name__ == "__main__":
    main()
