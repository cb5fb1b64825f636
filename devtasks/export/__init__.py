"""`export`: a project written down for another supervisor. One module a target, pure; `command.py` is the verb."""
