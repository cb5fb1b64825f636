"""The face: Invoke tasks, the `devtasks` command, flags, completion, and the edge where errors become messages.

`tasks` has the table of verbs; `perform` carries one call out. Listing tasks imports nothing below.
"""
