"""`inv up`: everything in one terminal, and nothing of it left when the terminal is gone (docs/up.md).

`runs` stops runs by their nonces, `guarded` tells the guardian which, `guardian` is that tiny process, and
`aftermath` what it executes when `up` was killed.
"""
