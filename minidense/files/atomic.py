"""Files that are replaced as a whole, or not at all, whenever the machine stops."""

from __future__ import annotations

import errno
import os
import platform
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Have ``write(file)`` make the contents of ``path``: afterwards the new ones are there, durably, or the old ones.

    They are written beside the target, flushed to the disk and renamed, and the folder is flushed too. A symbolic
    link stays one, and permissions stay. Raises OSError, the old contents being intact and nothing being left behind,
    and whatever ``write`` raises. A process that is killed meanwhile can leave a ``.minidense-<...>.tmp``, which the
    next call for the same path removes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_file(f"{folder}/a", lambda file: file.write(b"new"))
    ...     os.listdir(folder)
    ['a']
    """
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    kin = f".minidense-{zlib.crc32(os.fsencode(f'{platform.node()}:{target}')):08x}-"
    stem = os.path.join(folder, f"{kin}{os.getpid()}-{os.urandom(4).hex()}")
    fresh, old = f"{stem}.tmp", f"{stem}.old"
    try:
        _remove_leftovers(folder, kin)
        if os.fsdecode(path).endswith((os.sep, os.altsep or os.sep)):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        _write(fresh, _mode(target), write)
        _rename(fresh, target, old, folder)
    except OSError as error:
        problem = f"{error.strerror or error}; nothing was saved, and what was there before is as it was"
        raise OSError(error.errno, problem, os.fspath(path)) from error
    finally:
        for leftover in (fresh, old):
            with suppress(OSError):
                os.unlink(leftover)


def _remove_leftovers(folder: str, kin: str) -> None:
    """Remove what processes of this machine that are no more have left."""
    for name in os.listdir(folder) if os.name == "posix" else ():
        if name.startswith(kin):
            try:
                os.kill(int(name.removeprefix(kin).partition("-")[0]), 0)
            except ProcessLookupError:
                with suppress(OSError):
                    os.unlink(os.path.join(folder, name))
            except (OSError, ValueError):
                pass  # it lives, or is somebody else's


def _mode(target: str) -> int | None:
    """The permissions of a file that is there."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, "it is not a regular file")
    return stat.S_IMODE(mode)


def _write(path: str, mode: int | None, write: Callable[[BinaryIO], object]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        if mode is not None:
            os.chmod(path, mode)
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _rename(fresh: str, target: str, old: str, folder: str) -> None:
    """Put ``fresh`` in the place of ``target``; where the folder cannot be flushed, put the old one back."""
    existed = os.path.exists(target)
    can_go_back = not existed or _second_name(target, old)
    os.replace(fresh, target)
    try:
        _flush(folder)
    except OSError:
        if not can_go_back:
            return  # a file system as simple as that promises nothing about folders
        if existed:
            os.replace(old, target)
        else:
            os.replace(target, fresh)
        raise


def _second_name(file: str, name: str) -> bool:
    """Give the file a second name; False where the file system knows no such thing."""
    try:
        os.link(file, name)
    except OSError:
        return False
    return True


def _flush(folder: str) -> None:
    if os.name == "nt":
        return  # Windows has no such call for folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system has no such call either
            raise
    finally:
        os.close(descriptor)
