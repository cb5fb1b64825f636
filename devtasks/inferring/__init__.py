"""How services are inferred: one module for each kind of file that declares them.

`tree.py` reads, `ports.py` tells the port of a command; `procfile.py`, `python.py` and `node.py` find services.
Nothing here runs or imports what it finds.
"""
