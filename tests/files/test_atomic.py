"""A file is replaced as a whole or not at all: every call that can fail is made to fail in turn."""

import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import textwrap

import pytest

import minidense as md
from minidense.files import atomic
from minidense.files.atomic import replace_file

PARTS = [b"new " * 1000, b"contents"]


def write(file):
    for part in PARTS:
        file.write(part)


@pytest.fixture(params=["a new file", "an old file"])
def target(request, tmp_path):
    path = tmp_path / "model.npz"
    if request.param == "an old file":
        path.write_bytes(b"old")
    return path


def contents(path):
    return path.read_bytes() if path.exists() else None


# ---------------------------------------------------------------------- what fails


class Failing:
    """Notes the calls of some functions, and has one of them fail."""

    def __init__(self, monkeypatch, error):
        self.calls, self.fail_at, self.error = [], None, error
        for name in ("open", "fsync", "replace", "chmod"):
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))
        fdopen = os.fdopen
        monkeypatch.setattr(os, "fdopen", lambda *arguments: Writes(fdopen(*arguments), self))

    def call(self, name):
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))

    def wrapped(self, name, function):
        def failing(*arguments, **options):
            self.call(name)
            return function(*arguments, **options)

        return failing


class Writes(io.RawIOBase):
    """A file whose writing and flushing counts, and may fail."""

    def __init__(self, file, failing):
        self.file, self.failing = file, failing

    def write(self, data):
        self.failing.call("write")
        return self.file.write(data)

    def flush(self):
        if not self.file.closed:
            self.failing.call("flush")
            self.file.flush()

    def close(self):
        self.file.close()

    def fileno(self):
        return self.file.fileno()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_call_fails_in_turn(error, target, monkeypatch):
    """At each open, chmod, write, flush, fsync and rename there is an error; after the rename there is none."""
    before = contents(target)
    failing = Failing(monkeypatch, error)
    replace_file(target, write)
    calls = ["open", *["chmod"] * bool(before), "write", "write", "flush", "fsync", "replace", "open", "fsync"]
    assert failing.calls == calls
    for fail_at in range(1, len(calls) + 1):
        target.unlink()
        if before is not None:
            target.write_bytes(before)
        failing.calls, failing.fail_at = [], fail_at
        if fail_at <= calls.index("replace") + 1:
            with pytest.raises(
                OSError, match=r"nothing was saved, and what was there before is as it was.*model\.npz"
            ) as caught:
                replace_file(target, write)
            assert caught.value.errno == error
            assert contents(target) == before
        else:  # the folder cannot be flushed
            replace_file(target, write)
            assert contents(target) == b"".join(PARTS)
        assert [path for path in target.parent.iterdir() if path != target] == []
        target.touch()


def test_a_disk_that_is_full(tmp_path):
    """A real one: the system refuses to let files grow beyond a limit."""
    code = """if True:
        import os, resource, signal
        from minidense.files.atomic import replace_file
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        replace_file("a", lambda file: file.write(bytes(300_000)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            replace_file("a", lambda file: file.write(bytes(400_000)))
        except OSError as error:
            assert "nothing was saved" in str(error), error
        else:
            raise SystemExit("no error")
        assert open("a", "rb").read() == bytes(300_000)
        assert os.listdir() == ["a"], os.listdir()
    """
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_error_within_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    for error in (ValueError, KeyboardInterrupt):

        def failing(file, error=error):
            file.write(b"new")
            raise error

        with pytest.raises(error):
            replace_file(path, failing)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a"]


def test_killed_while_saving():
    ran = subprocess.run(
        [sys.executable, "tests/stress/crashes.py", "--kills", "40"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_order_of_things(target, monkeypatch):
    """Contents reach the disk before the name does, and the name before anybody is told that it is done."""
    seen = []
    for name in ("fsync", "replace"):
        function = getattr(os, name)

        def noted(*arguments, name=name, function=function):
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else "file"
            size = os.fstat(arguments[0]).st_size if (name, kind) == ("fsync", "file") else None
            seen.append((name, kind, size))
            return function(*arguments)

        monkeypatch.setattr(os, name, noted)
    replace_file(target, write)
    assert seen == [("fsync", "file", target.stat().st_size), ("replace", "file", None), ("fsync", "folder", None)]


# ---------------------------------------------------------------------- what is kept


def test_links_and_permissions_stay(tmp_path):
    (tmp_path / "data").mkdir()
    path, link = tmp_path / "data" / "model.npz", tmp_path / "link.npz"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    replace_file(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    umask = os.umask(0o027)
    try:
        replace_file(tmp_path / "fresh", lambda file: file.write(b"new"))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_the_file_can_be_read_while_it_is_made(tmp_path):
    def doubled(file):
        file.write(b"abc")
        file.seek(0)
        file.write(file.read() * 2)

    replace_file(tmp_path / "a", doubled)
    assert (tmp_path / "a").read_bytes() == b"abcabcabc"


def model():
    return md.Sequential([md.Dense(3)], rng=0).build(2).compile()


@pytest.mark.parametrize("write", [model().save, model().save_weights, model().export_numpy])
def test_what_is_no_file_is_refused(write, tmp_path):
    with pytest.raises(IsADirectoryError, match="nothing was saved"):
        write(tmp_path)
    with pytest.raises(IsADirectoryError, match="nothing was saved"):
        write(f"{tmp_path}/new/")
    with pytest.raises(OSError, match="not a regular file"):
        write("/dev/null")
    assert os.listdir(tmp_path) == []
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    write(os.fsencode(tmp_path / ("€" * 80)))  # the longest that a name may be
    assert os.listdir(tmp_path) == ["€" * 80]


# ---------------------------------------------------------------------- what is left over


class Writer:
    """Another process in the middle of replacing a file, which it finishes when it is told to."""

    def __init__(self, path, before=""):
        code = f"""
        import os, sys
        from minidense.files import atomic
        def write(file):
            file.write(b"theirs")
            file.flush()
            print("begun", flush=True)
            sys.stdin.readline()
        {before}
        atomic.replace_file({str(path)!r}, write)
        """
        arguments = [sys.executable, "-c", textwrap.dedent(code)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "begun\n"

    def finish(self):
        self.process.communicate("go on\n")
        return self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.communicate()


def others(path):
    return sorted(each for each in path.parent.iterdir() if each != path)


def test_leftovers_go_with_their_process_and_not_before(target):
    first, second = Writer(target), Writer(target)
    alive = others(target)
    assert len(alive) == 2
    replace_file(target, write)
    assert others(target) == alive
    first.kill()
    assert others(target) == alive
    replace_file(target, write)
    assert len(others(target)) == 1
    assert contents(target) == b"".join(PARTS)
    assert second.finish() == 0
    assert contents(target) == b"theirs"
    assert others(target) == []


def test_leftovers_of_read_only_files_go_too(tmp_path):
    path = tmp_path / "a"
    path.touch(0o444)
    Writer(path).kill()
    assert [stat.S_IMODE(left.stat().st_mode) for left in others(path)] == [0o444]
    replace_file(path, write)
    assert others(path) == []


def test_two_containers_on_one_volume(target, monkeypatch):
    """Each sees its own processes only: what is a living one's number here is nobody's there, or another's."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(os, "kill", lambda *arguments: (_ for _ in ()).throw(ProcessLookupError()))
    for number in (7, 8):
        there = Writer(target, before=f"os.getpid = lambda: {number}")
        replace_file(target, write)
        assert len(others(target)) == 1
        assert there.finish() == 0
        assert contents(target) == b"theirs"
        assert others(target) == []


def test_what_others_have_left_stays(target):
    """Of other targets, and what only is called so: links, folders."""
    Writer(target).kill()
    (name,) = [path.name for path in others(target)]
    for path in others(target):
        path.unlink()
    (target.parent / "outside").touch()
    (target.parent / f"{name}.link").symlink_to(target.parent / "outside")
    (target.parent / f"{name}.folder").mkdir()
    Writer(target.parent / "another").kill()
    before = others(target)
    replace_file(target, write)
    assert others(target) == before
    assert len(before) == 4


def test_a_file_is_removed_before_its_writer_has_locked_it(target, monkeypatch):
    """The first gap: the writer notices, and begins again."""
    locked, created = fcntl.flock, []

    def late(descriptor, operation):
        if operation & fcntl.LOCK_EX and len(created) < 3:
            created.append(os.fstat(descriptor).st_ino)
            monkeypatch.setattr(fcntl, "flock", locked)
            atomic._remove_leftovers(str(target.parent), ".minidense-")
            monkeypatch.setattr(fcntl, "flock", late)
            assert os.fstat(descriptor).st_nlink == 0
        locked(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    replace_file(target, write)
    assert len(created) == 3
    assert contents(target) == b"".join(PARTS)
    assert others(target) == []


def test_a_file_is_being_removed_while_its_writer_locks_it(target, monkeypatch):
    """The first gap again, with the other process holding the lock, and not having unlinked the file yet."""
    locked, held = fcntl.flock, []

    def late(descriptor, operation):
        if operation & fcntl.LOCK_EX and not held:
            (path,) = others(target)
            held.append((path, os.open(path, os.O_RDONLY)))
            locked(held[0][1], fcntl.LOCK_SH)
        locked(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    replace_file(target, write)
    assert contents(target) == b"".join(PARTS)
    assert others(target) == [held[0][0]]
    os.close(held[0][1])
    replace_file(target, write)
    assert others(target) == []


def test_a_file_is_renamed_before_the_remover_has_locked_it(target, monkeypatch):
    """The second gap: what the remover has opened is the target by then, and its lock is free."""
    there, locked = Writer(target), fcntl.flock

    def late(descriptor, operation):
        if operation & fcntl.LOCK_SH:
            assert there.finish() == 0
            assert os.path.samestat(os.fstat(descriptor), target.stat())
        locked(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    atomic._remove_leftovers(str(target.parent), ".minidense-")
    assert contents(target) == b"theirs"


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks(error, target, monkeypatch):
    """Files are replaced there as anywhere, and no leftovers removed."""

    def no_lock(*arguments):
        raise OSError(error, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_lock)
    there = Writer(target)
    replace_file(target, write)
    assert len(others(target)) == 1
    there.kill()
    replace_file(target, write)
    assert len(others(target)) == 1
    assert contents(target) == b"".join(PARTS)


def test_windows(target, monkeypatch):
    """Without fcntl; and a file is closed before it is renamed."""
    monkeypatch.setattr(atomic, "fcntl", None)
    Writer(target).kill()
    files, replace = [], os.replace

    def replaced(*names):
        assert files[0].closed
        replace(*names)

    monkeypatch.setattr(os, "replace", replaced)
    replace_file(target, lambda file: (files.append(file), write(file)))
    assert contents(target) == b"".join(PARTS)
    assert len(others(target)) == 1


@pytest.mark.parametrize("write", [model().save, model().save_weights, model().export_numpy])
def test_a_missing_folder_is_made(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a" / "b" / "model.py")
    write("c/model.py")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.py")) == ["a/b/model.py", "c/model.py"]
    with pytest.raises(OSError, match=r"nothing was saved.*c/model.py/d.py"):
        write("c/model.py/d.py")
