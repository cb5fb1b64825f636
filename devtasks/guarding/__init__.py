"""What stands behind `devtasks.guard`.

`claims` says who was given a port, `intent` whether this process will bind it, `question` what was asked and of
which project, `kinship` who is of this server, `earlier` what was there before it, `objections` what forbids to
end that, and `takeover` does it. A free port needs `claims` only.
"""
