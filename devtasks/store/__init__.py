"""What is kept on disk: PID files, locks, logs, and the state of runs.

Everything is opened through `statedir`, which follows no link and checks the owner; what is read is hostile until
it was checked; nothing here is needed to stop a service.
"""
