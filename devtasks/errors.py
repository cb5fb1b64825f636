"""The errors that reach a user: one line, a remedy where there is one, an exit code.

Everything below is raised anywhere in the program and translated to a message once, in `edge.py`.
"""


class DevtasksError(Exception):
    """Base of all. `exit_code` is the process's exit status (design: 1 failed, 2 usage, 3 refused)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DevtasksError):
    """A flag, a number or a service name that cannot be meant."""

    exit_code = 2


class ConfigError(DevtasksError):
    """All that is wrong with a configuration, at once.

    `problems` are complete lines, each `place: what is wrong; what to do`, where place is the dotted path
    in the file (`services.backend.port`) or the file itself.
    """

    exit_code = 2

    def __init__(self, source: str, problems: tuple[str, ...], *, hint: str | None = None) -> None:
        count = len(problems)
        heading = f"{source}: {count} mistake{'s' if count != 1 else ''}"
        super().__init__("\n".join([heading, *(f"  {problem}" for problem in problems)]), hint=hint)
        self.source = source
        self.problems = problems


class Refused(DevtasksError):
    """Nothing was touched: the port or file belongs to somebody else, or production forbids it."""

    exit_code = 3


class Interrupted(BaseException):
    """A signal asked this command to end. Not an `Exception`: no handler for failures may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by signal {number}")
        self.number = number

    @property
    def exit_code(self) -> int:
        return 128 + self.number
