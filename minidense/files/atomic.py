"""Files that are replaced as a whole, or not at all, whenever the machine stops."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from minidense.core.arguments import file_path

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked, and no leftover removed
    fcntl = None  # type: ignore[assignment]


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Have ``write(file)`` make the contents of ``path``: afterwards the new ones are there, or the old ones.

    They are written beside the target, flushed to the disk and renamed; then the folder is flushed. A missing folder
    is made. A symbolic link stays one, and permissions stay. ``file`` is open for reading and writing, and can seek.

    Raises OSError, and whatever ``write`` raises; the old contents are then intact, and nothing is left behind. A file
    whose folder could not be flushed after the rename stays the new one, without an error: it is complete, and only a
    power failure could still bring back the old one, as complete. A process that is killed can leave a
    ``.minidense-<...>.tmp``, which the next call for the same path removes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_file(f"{folder}/a", lambda file: file.write(b"new"))
    ...     os.listdir(folder)
    ['a']
    """
    path = file_path("path", path)
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    kin = f".minidense-{zlib.crc32(os.fsencode(name)):08x}-"  # a name's own length could be too long with more
    try:
        if path.endswith((os.sep, os.altsep or os.sep)):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.makedirs(folder, exist_ok=True)
        mode = _mode(target)
        _remove_leftovers(folder, kin)
        _write_and_rename(os.path.join(folder, kin), mode, write, target)
    except OSError as error:
        problem = f"{error.strerror or error}; nothing was saved, and what was there before is as it was"
        raise OSError(error.errno, problem, path) from error
    _flush(folder)


def _mode(target: str) -> int | None:
    """The permissions of a file that is there."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "it is not a regular file")
    return stat.S_IMODE(mode)


# A temporary file belongs to whoever holds its lock, which ends with its process, however that ends. The writer locks
# it until it is renamed or abandoned; others unlink only what they have locked, and only while it still is the file at
# that path, which no other file ever takes, as names are random. That leaves two gaps:
# - Between creating a file and locking it, somebody can lock and unlink it. So the writer, once it has the lock, looks
#   whether the file still is at its path, and otherwise begins again. From then on nobody else gets the lock.
# - Between opening a leftover and locking it, its writer can have renamed it: what is locked then is the target. But
#   its old path is gone, which is seen under the lock.
# Locks reach from container to container on one machine, and over NFS. Where there are none, nothing is removed.


def _write_and_rename(stem: str, mode: int | None, write: Callable[[BinaryIO], object], target: str) -> None:
    fresh, file = _created(stem)
    try:
        with file:
            if mode is not None:
                os.chmod(fresh, mode)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no file that is open
            os.replace(fresh, target)
    finally:
        with suppress(OSError):  # it is gone when all went well
            os.unlink(fresh)


def _created(stem: str) -> tuple[str, BinaryIO]:
    """A new file, locked, and its path."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        path = f"{stem}{os.urandom(8).hex()}.tmp"
        file = os.fdopen(os.open(path, flags, 0o666), "w+b")
        try:
            if fcntl is None or _holds(path, file.fileno(), fcntl.LOCK_EX):
                return path, file
        except (BlockingIOError, FileNotFoundError):
            pass  # somebody is removing it
        except OSError:
            return path, file  # there are no locks here
        file.close()


def _holds(path: str, descriptor: int, lock: int) -> bool:
    """Lock an open file without waiting: whether it still is the one at that path. OSError where that cannot be."""
    fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
    return os.path.samestat(os.lstat(path), os.fstat(descriptor))


def _remove_leftovers(folder: str, kin: str) -> None:
    """Remove what calls for the same target left behind when they were killed."""
    with suppress(OSError):
        for name in os.listdir(folder) if fcntl else ():
            if name.startswith(kin):
                with suppress(OSError):
                    _remove_unlocked(os.path.join(folder, name))


def _remove_unlocked(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if _holds(path, descriptor, fcntl.LOCK_SH):  # shared is enough, and needs no permission to write
            os.unlink(path)
    finally:
        os.close(descriptor)


def _flush(folder: str) -> None:
    """Have the rename reach the disk, where the file system can do that. Windows cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
