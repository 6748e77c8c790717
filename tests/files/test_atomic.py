"""A file is replaced as a whole or not at all: every call that can fail is made to fail in turn."""

import errno
import io
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from snapshots import picture

import minidense as md
from minidense.files.atomic import replace_file


def model(seed=0):
    return md.Sequential([md.Dense(3)], rng=seed).build(2).compile(md.SGD(0.1, momentum=0.5))


@pytest.fixture(params=["a new file", "an old file"])
def target(request, tmp_path):
    path = tmp_path / "model.npz"
    if request.param == "an old file":
        model(1).save(path)
    return path


class Failing:
    """Counts the calls of some functions, and has one of them fail."""

    def __init__(self, monkeypatch, error):
        self.calls, self.fail_at, self.error = 0, None, error
        for name in ("open", "fsync", "replace", "chmod"):
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))
        fdopen = os.fdopen

        def watched(*arguments):
            file = fdopen(*arguments)
            return Writes(file, self)

        monkeypatch.setattr(os, "fdopen", watched)

    def call(self):
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(self.error, os.strerror(self.error))

    def wrapped(self, function):
        def failing(*arguments, **options):
            self.call()
            return function(*arguments, **options)

        return failing


class Writes(io.RawIOBase):
    """A file whose writing and flushing counts, and may fail."""

    def __init__(self, file, failing):
        self.file, self.failing = file, failing

    def write(self, data):
        self.failing.call()
        return self.file.write(data)

    def flush(self):
        if not self.file.closed:
            self.failing.call()
            self.file.flush()

    def close(self):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    seek, tell = (lambda self, *a: self.file.seek(*a)), (lambda self: self.file.tell())
    seekable = lambda self: True  # noqa: E731
    fileno = lambda self: self.file.fileno()  # noqa: E731


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_every_call_fails_in_turn(error, target, monkeypatch):
    """ENOSPC, EIO, a folder that cannot be written to: at each open, write, flush, fsync and rename."""
    saved, before = model(), target.read_bytes() if target.exists() else None
    x, y = np.ones((4, 2)), np.ones((4, 3))
    failing = Failing(monkeypatch, error)
    saved.save(target)
    number = failing.calls
    assert number > 20
    if before is None:
        target.unlink()
    else:
        target.write_bytes(before)
    shot = picture(saved)
    for fail_at in range(1, number + 1):
        failing.calls, failing.fail_at = 0, fail_at
        with pytest.raises(OSError, match="nothing was saved, and what was there before is as it was") as caught:
            saved.save(target)
        assert caught.value.errno == error
        assert str(target) in str(caught.value)
        assert (target.read_bytes() if target.exists() else None) == before
        assert [path for path in target.parent.iterdir() if path != target] == []
        assert picture(saved) == shot
    failing.fail_at = None
    saved.compile(md.SGD(0.1), "mse").fit(x, y, verbose=0)  # training can go on
    saved.save(target)
    assert md.load_model(target).predict(x).tobytes() == saved.predict(x).tobytes()


def test_a_disk_that_is_full():
    """A real one: the system refuses to let files grow beyond a limit."""
    code = """if True:
        import os, resource, signal
        import numpy as np
        import minidense as md
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        model = md.Sequential([md.Dense(500)], rng=0).build(500)
        model.save("model.npz")
        before = open("model.npz", "rb").read()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        model.theta += 1
        try:
            model.save("model.npz")
        except OSError as error:
            assert "nothing was saved" in str(error), error
        else:
            raise SystemExit("no error")
        assert open("model.npz", "rb").read() == before
        assert os.listdir() == ["model.npz"], os.listdir()
    """
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_error_within_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    for error in (ValueError, KeyboardInterrupt):

        def write(file, error=error):
            file.write(b"new")
            raise error

        with pytest.raises(error):
            replace_file(path, write)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a"]


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


@pytest.mark.parametrize("write", [model().save, model().save_weights, model().export_numpy])
def test_what_is_no_file_is_refused(write, tmp_path):
    with pytest.raises(IsADirectoryError, match="nothing was saved"):
        write(tmp_path)
    with pytest.raises(IsADirectoryError, match="nothing was saved"):
        write(f"{tmp_path}/new/")
    with pytest.raises(OSError, match="not a regular file"):
        write("/dev/null")
    with pytest.raises(FileNotFoundError, match="nothing was saved"):
        write(tmp_path / "none" / "model.npz")
    assert os.listdir(tmp_path) == []
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    write(os.fsencode(tmp_path / ("€" * 80)))  # the longest that a name may be
    assert os.listdir(tmp_path) == ["€" * 80]


def test_a_file_system_without_links(target, monkeypatch):
    """There the folder's flush cannot be undone, and such file systems promise nothing about folders anyway."""

    def no_link(*names):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    model(3).save(target)
    assert (md.load_model(target).theta == model(3).theta).all()


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
    model().save(target)
    assert seen == [("fsync", "file", target.stat().st_size), ("replace", "file", None), ("fsync", "folder", None)]
