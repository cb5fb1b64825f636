"""One SQLite file that may be damaged, newer than us, locked or unwritable without stopping anybody's work.

Nothing here raises for the state of the file. What went wrong is in `notes`, a line each; reads then give
nothing and writes are dropped, or both go to memory.

Every write is durable against the end of this process, not against a power cut (`synchronous` is off): what a
run's rows say is void after a reboot anyway. The journal mode is TRUNCATE at every version of SQLite: it has no
helper files that a read-only folder cannot hold, and WAL had a corruption bug before 3.51.3.

A descriptor of the file is never opened and closed here while a connection exists: that would drop SQLite's
POSIX locks.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devtasks.errors import DevtasksError
from devtasks.store import statedir

if TYPE_CHECKING:
    import sqlite3

BUSY_SECONDS = 5.0
DAMAGED_KEPT = 3
_ALONE_SECONDS = 2.0
_ATTEMPTS = 4  # found damaged, moved away by somebody else before it was opened again, made anew
_REST_SECONDS = 30.0  # after a failure nothing is tried for so long: one wait for a lock is enough for a command
_ENDLESS = float("inf")
_PLAUSIBLE_VERSIONS = 1000  # a version beyond this was not written by a later devtasks: it is damage

# Primary result codes (sqlite3 names them from Python 3.11 on). ERROR is damage because our statements are
# right for our schema; TOOBIG and MISMATCH are what a broken record looks like.
_DAMAGE = frozenset({1, 11, 18, 20, 26})  # ERROR, CORRUPT, TOOBIG, MISMATCH, NOTADB
_BUSY = frozenset({5, 6})  # BUSY, LOCKED
_READONLY = 8
_CANTOPEN = 14

Value = int | float | str | bytes | None
Statement = tuple[str, Sequence[Value]]


class Database:
    """The database at `path`, opened at the first need, and again when the file has become another one.

    `schema`: statements that may run on a database that has it all. `create`: whether a first write may make
    the file; without it nothing appears on disk and writes stay in memory.
    """

    def __init__(self, path: Path, *, version: int, schema: Iterable[str], create: bool) -> None:
        self.notes: list[str] = []
        self._reasons: set[str] = set()  # that were noted
        self._path = path
        self._version = version
        self._schema = tuple(schema)
        self._create = create
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of what is open; None: memory
        self._in_memory = False
        self._read_again_at = self._write_again_at = 0.0  # on the monotonic clock
        self._waited_seconds = 0.0  # for a lock, in vain: only who is more patient tries before that

    def read(self, query: str, values: Sequence[Value] = ()) -> list[tuple[object, ...]]:
        """The rows of a query. Empty where nothing can be read."""
        for attempt in range(_ATTEMPTS):
            if time.monotonic() < self._read_again_at:
                return []
            try:
                connection = self._connect(to_write=False)
                return [] if connection is None else connection.execute(query, values).fetchall()
            except Exception as error:  # noqa: BLE001 - sqlite3 is not imported before it is needed
                if not self._recover(error, "read", last=attempt + 1 == _ATTEMPTS):
                    self._read_again_at = time.monotonic() + _REST_SECONDS
                    return []
        return []

    def write(self, *statements: Statement, patience_seconds: float | None = None) -> bool:
        """Carry out all the statements, or none. False: they were dropped, and `notes` says why.

        `patience_seconds` is how long another command may keep the database locked; BUSY_SECONDS if not given.
        """
        patience = BUSY_SECONDS if patience_seconds is None else patience_seconds
        for attempt in range(_ATTEMPTS):
            if time.monotonic() < self._write_again_at and patience <= self._waited_seconds:
                return False
            try:
                connection = self._connect(to_write=True)
                if connection is None:
                    return False
                connection.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
                _transaction(connection, statements)
            except Exception as error:  # noqa: BLE001
                if not self._recover(error, "written", last=attempt + 1 == _ATTEMPTS):
                    self._write_again_at = time.monotonic() + _REST_SECONDS
                    self._waited_seconds = patience if _is_busy(error) else _ENDLESS
                    return False
            else:
                return True
        return False

    @property
    def on_disk(self) -> bool:
        """Whether what was last read or written is kept beyond this process."""
        return self._file is not None

    @property
    def file(self) -> tuple[int, int] | None:
        """Device and inode of the file that was last opened; None: none was, or state is kept in memory."""
        return self._file

    def use_memory(self, note: str) -> None:
        """From now on leave the file alone."""
        self._note(note)
        self.close()
        self._in_memory = True

    def close(self) -> None:
        connection, self._connection, self._file = self._connection, None, None
        if connection is not None:
            connection.close()

    # --- opening ------------------------------------------------------------------------------------

    def _connect(self, *, to_write: bool) -> sqlite3.Connection | None:
        """The open connection; None where there is nothing to read."""
        if self._connection is not None and (self._file is None or self._file == self._present()):
            return self._connection
        self.close()
        if self._in_memory:
            if not to_write:
                return None
        else:
            status = _lstat(self._path)
            if status is None:
                if not to_write:
                    return None
                self._make_file()
            elif reason := statedir.unfit(status, statedir.owners(self._path.parent)):
                self.use_memory(f"{self._path}: {reason}: this command keeps its state in memory")
        return self._open()

    def _make_file(self) -> None:
        if not self._create:
            self._in_memory = True
            return
        with self._alone():
            if self._present() is not None:
                return
            # SQLite by itself would make it readable for everybody. Into an empty file it does not play back
            # the journal that a deleted database left.
            os.close(statedir.open_nofollow(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        self._file = None if self._in_memory else self._present()
        # "rw": a file that has just been deleted is not made again here, readable for everybody.
        place = ":memory:" if self._in_memory else f"{self._path.as_uri()}?mode=rw"
        connection = self._connection = sqlite3.connect(
            place, uri=True, timeout=BUSY_SECONDS, isolation_level=None
        )
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        for pragma in ("synchronous=OFF", "trusted_schema=OFF", "journal_mode=TRUNCATE"):
            connection.execute(f"PRAGMA {pragma}")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if self._version < version <= _PLAUSIBLE_VERSIONS:
            self.use_memory(
                f"{self._path}: written by a newer devtasks: left alone, this command keeps its state in memory"
            )
            return self._open()
        if not 0 <= version <= self._version:
            raise sqlite3.DatabaseError("no plausible version")
        if version < self._version:
            _transaction(
                connection, [(text, ()) for text in (*self._schema, f"PRAGMA user_version={self._version}")]
            )
        return connection

    def _present(self) -> tuple[int, int] | None:
        status = _lstat(self._path)
        return None if status is None else (status.st_dev, status.st_ino)

    def _moved_meanwhile(self) -> bool:
        """Whether the file is not the one, or not any, that was about to be opened."""
        present = self._present()
        return not self._in_memory and (present is None or present != self._file)

    def _alone(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else makes or moves the file meanwhile. Raises DevtasksError."""
        from devtasks.store import locks

        return locks.service_lock(self._path.with_name(f"{self._path.name}.lock"), timeout_seconds=_ALONE_SECONDS)

    # --- what goes wrong ----------------------------------------------------------------------------

    def _recover(self, error: Exception, doing: str, *, last: bool) -> bool:
        """Whether to try again. Raises what is neither sqlite3's nor the system's: a mistake of ours."""
        import sqlite3

        if isinstance(error, OSError | DevtasksError):
            why = statedir.explain(error) if isinstance(error, OSError) else error.message
        elif isinstance(error, UnicodeDecodeError):  # a message of SQLite's that quotes the damage
            return self._move_aside("unreadable schema")
        elif not isinstance(error, sqlite3.Error) or isinstance(error, sqlite3.ProgrammingError):
            raise error
        else:
            code = getattr(error, "sqlite_errorcode", 1) & 0xFF
            if code in _DAMAGE and self._file is not None:
                return self._move_aside(str(error))
            if code == _CANTOPEN and not last and self._moved_meanwhile():
                self.close()
                return True
            if code == _READONLY and self._claims_to_be_read_only():
                return self._move_aside("unknown format")
            why = "another command keeps it locked" if _is_busy(error) else str(error)
        if why not in self._reasons:  # one line is enough for what can be neither read nor written
            self._reasons.add(why)
            self._note(f"{self._path}: not {doing}: {why}")
        self.close()
        return False

    def _claims_to_be_read_only(self) -> bool:
        """Whether the header, not the file system, forbids writing: its format version is none that exists."""
        file = self._file
        self.close()  # before the file is opened here
        self._file = file
        try:
            descriptor = statedir.open_nofollow(self._path, os.O_RDONLY)
        except OSError:
            return False
        try:
            version = os.read(descriptor, 20)[18:]
        finally:
            os.close(descriptor)
        return any(byte not in (1, 2) for byte in version)

    def _move_aside(self, why: str) -> bool:
        """Rename the damaged file, so that the next connection makes a new one; nothing is thrown away."""
        damaged = self._file
        self.close()
        try:
            # One at a time: a second one would move the first one's new database.
            with self._alone():
                if self._present() == damaged:
                    self._rename_damaged()
                    self._note(f"{self._path}: damaged ({why}): kept as {self._damaged(1).name}, begun anew")
        except (DevtasksError, OSError) as trouble:
            self.use_memory(f"{self._path}: damaged and cannot be moved ({trouble}): state is kept in memory")
        return True

    def _rename_damaged(self) -> None:
        for number in range(DAMAGED_KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._damaged(number), self._damaged(number + 1))
        os.replace(self._path, self._damaged(1))

    def _damaged(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.damaged-{number}")

    def _note(self, line: str) -> None:
        from devtasks.store.logs import printable

        line = printable(line)  # SQLite quotes what it found
        if line not in self.notes:
            self.notes.append(line)


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


def _transaction(connection: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    # IMMEDIATE: a deferred transaction that turns from reading to writing fails at once under contention.
    connection.execute("BEGIN IMMEDIATE")
    try:
        for text, values in statements:
            connection.execute(text, values)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(Exception):
            connection.execute("ROLLBACK")
        raise


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
