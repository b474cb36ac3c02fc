"""Opening the ledger's database, and its transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# SQLite waits so long for another writer of the same file before it gives up.
BUSY_TIMEOUT_S = 30

# A PostgreSQL whose machine goes without a word is noticed after a minute, not after hours; what the URL says wins.
_NOTICED = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# What a standby answers to whoever writes: after a failover the primary is elsewhere.
_READ_ONLY = "25006"

# What PostgreSQL and SQLite say of a sum that no column holds: 64 bits of micros.
_OUT_OF_RANGE, _OVERFLOW = "22003", "integer overflow"
_TOO_GREAT = (
    "a sum of the ledger is beyond 9223372036854.775807: look for a slip in `chargeback prices show` and "
    "`chargeback adjust list`, and take it back"
)

# Execution option of connections that will write.
_WRITES = "chargeback_writes"


class DatabaseError(RuntimeError):
    """The database cannot be used: says which and why."""


class DatabaseUnavailable(RuntimeError):
    """The database did not do it this time (away, full, locked): nothing was written, it may be tried again."""


class PartFailed(RuntimeError):
    """A part of a transaction was undone: says why. The rest of it stands."""


class Busy(RuntimeError):
    """Somebody else has in hand what is wanted, and waiting could be for ever: it may be tried again soon."""


@contextmanager
def part(connection: Connection) -> Iterator[None]:
    """A part of a transaction that fails by itself: PartFailed, Busy. What ails the database fails the whole."""
    try:
        with connection.begin_nested():
            yield
    except (OperationalError, Busy):
        raise
    except Exception as error:  # whatever it was, a defect of this part: it goes on as one error, never swallowed
        raise PartFailed(f"{type(error).__name__}: {error}") from error


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """What ails the database, and may pass, becomes one error; what is wrong with a statement rises as it is."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable(str(error)) from error
    except DBAPIError as error:
        if _is_too_great(error.orig):
            raise DatabaseUnavailable(f"{_TOO_GREAT} ({error.orig})") from error
        if isinstance(error, OperationalError) or error.connection_invalidated or _is_standby(error.orig):
            raise DatabaseUnavailable(str(error.orig)) from error
        raise


class Database:
    """One database; `write()` and `read()` are the only ways to a connection."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(**{_WRITES: True})
        # SQLite has one writer: threads of this process queue here instead of colliding there.
        self._writer = threading.RLock() if engine.dialect.name == "sqlite" else None

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits if the block ends well."""
        with _as_unavailable(), self._writer or nullcontext(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction for reading: what it sees does not change while it lasts."""
        with _as_unavailable(), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database by its SQLAlchemy URL. Raises DatabaseError."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(
            f"database: {url!r}: want a SQLAlchemy URL such as sqlite:////data/ledger.db: {error}"
        ) from error
    if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(f"database: {parsed.get_backend_name()!r}: want sqlite or postgresql")
    try:
        if parsed.get_backend_name() == "sqlite":
            _make_folder(parsed.database)
        is_remote = parsed.get_backend_name() == "postgresql"
        noticed = {name: value for name, value in _NOTICED.items() if is_remote and name not in parsed.query}
        engine = create_engine(parsed, connect_args=noticed)
    except OSError as error:
        raise DatabaseError(f"database: {parsed.render_as_string()}: {error}") from error
    except ModuleNotFoundError as error:
        raise DatabaseError(f"database: {error}: install gpu-chargeback[postgres]") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "handle_error", _leave_standby)
    try:
        engine.connect().close()
    except DBAPIError as error:
        engine.dispose()
        raise DatabaseError(f"database: {parsed.render_as_string()}: {error.orig}") from error
    return Database(engine)


def lock(connection: Connection, table: Table) -> None:
    """Let nobody else write a table or lock rows of it until the transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name != "sqlite":
        connection.execute(text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))


def share(connection: Connection, table: Table) -> None:
    """Wait for who has locked a table; nobody can until the transaction ends. Rows may be written by anybody."""
    if connection.dialect.name != "sqlite":
        connection.execute(text(f"LOCK TABLE {table.name} IN ROW SHARE MODE"))


def take(connection: Connection, table: Table, *where: ColumnElement[bool]) -> None:
    """Lock some rows, that nobody else changes them until the transaction ends; never waits. Raises Busy."""
    if connection.dialect.name == "sqlite":
        return  # has one writer anyway
    taken = connection.execute(select(literal(1)).select_from(table).where(*where).with_for_update(skip_locked=True))
    if len(taken.all()) < connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one():
        raise Busy(f"rows of {table.name} are in other hands")


def insert_or(connection: Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, which both databases spell the same way."""
    return (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(table)


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"


def _make_folder(file: str | None) -> None:
    if not file or file == ":memory:":
        raise DatabaseError("database: sqlite in memory: want a file, for every thread opens the database anew")
    Path(file).parent.mkdir(parents=True, exist_ok=True)


def _is_too_great(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == _OUT_OF_RANGE or str(error) == _OVERFLOW


def _is_standby(error: BaseException | None) -> bool:
    return getattr(error, "sqlstate", None) == _READ_ONLY


def _leave_standby(context: ExceptionContext) -> None:
    """Have the pool connect anew: who joined a standby while the address still led there would stay with it."""
    if _is_standby(context.original_exception):
        context.is_disconnect = True


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, so that DDL and reads are in it too
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # an agent lets go of what we have: a commit must outlive a power cut
        f"busy_timeout={BUSY_TIMEOUT_S * 1000}",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail at once where another process wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")


__all__ = [
    "Busy",
    "Connection",
    "Database",
    "DatabaseError",
    "DatabaseUnavailable",
    "PartFailed",
    "insert_or",
    "lock",
    "open_database",
    "part",
    "share",
    "sqlite_url",
    "take",
]
