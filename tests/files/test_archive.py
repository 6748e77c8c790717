"""Archives: what is written is read, and what was not written is not read, however right its digest is."""

import hashlib
import io
import json
import os
import re
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from forge import SEAL, members, npy, resealed, sealed, taken_apart, zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minidense.core.errors import CorruptFileError
from minidense.files import archive
from minidense.files.archive import dump, read_archive, write_archive


def written(manifest, arrays):
    file = io.BytesIO()
    dump(file, manifest, arrays)
    return file.getvalue()


@pytest.fixture
def reading(tmp_path):
    """Reads an archive of given bytes."""

    def read(data):
        (tmp_path / "x.npz").write_bytes(data)
        return read_archive(tmp_path / "x.npz")

    return read


# ---------------------------------------------------------------------- what is written is read


DTYPES = st.one_of(
    *(hnp.floating_dtypes(endianness=end, sizes=(16, 32, 64)) for end in "<>"),
    *(kind(endianness=end) for end in "<>" for kind in (hnp.integer_dtypes, hnp.unsigned_integer_dtypes)),
    hnp.boolean_dtypes(),
    *(hnp.unicode_string_dtypes(endianness=end, min_len=1, max_len=5) for end in "<>"),
)
LAYOUTS = st.sampled_from(
    [np.ascontiguousarray, np.asfortranarray, lambda a: a[..., ::2] if a.ndim else a, np.transpose]
)
ARRAYS = st.builds(
    lambda array, layout: layout(array) if array.ndim else array,
    hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    LAYOUTS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), max_size=20)


@settings(deadline=None)
@given(st.dictionaries(st.text(), JSON, max_size=3), st.dictionaries(NAMES, ARRAYS, max_size=4))
def test_round_trip(manifest, arrays):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        write_archive(path, manifest, arrays)
        found = read_archive(path)
        assert path.read_bytes() == written(manifest, dict(arrays))
        assert zipfile.ZipFile(path).testzip() is None
    assert found.path == str(path)
    assert found.manifest == manifest
    assert list(found.arrays) == list(arrays)
    for name, array in arrays.items():
        view = found.arrays[name]
        assert view.dtype == array.dtype.newbyteorder("<")
        assert view.shape == array.shape
        assert view.tobytes() == array.astype(view.dtype).tobytes()
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            view.flags.writeable = True
        if array.flags.forc:
            assert (view.flags.c_contiguous, view.flags.f_contiguous) == (
                array.flags.c_contiguous,
                array.flags.f_contiguous,
            )


def test_numpy_reads_it(tmp_path):
    arrays = {"layers/0/W": np.asfortranarray(np.eye(3)[:2]), "names": np.array(["a", "bcd"]), "scalar": np.float16(2)}
    write_archive(tmp_path / "x.npz", {"format": 2}, {name: np.asarray(array) for name, array in arrays.items()})
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file.files == ["manifest.json", *arrays]
        assert json.loads(file["manifest.json"]) == {"format": 2}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array, strict=True)


def test_the_digest_is_of_every_byte_before_it():
    data = written({}, {"a": np.arange(3)})
    assert data[-64:].decode() == hashlib.sha256(data[:-64]).hexdigest()
    assert data[-64 - len(SEAL) : -64] == SEAL


def test_every_program_that_knows_zip_can_open_it():
    """Only what needs it uses the later, 64-bit form, which is version 4.5 of the format."""
    with zipfile.ZipFile(io.BytesIO(written({}, {"a": np.arange(3)}))) as file:
        assert [member.extract_version for member in file.infolist()] == [20, 20]


def test_it_is_in_memory_once(tmp_path):
    """All arrays are parts of one object, as large as the file; and a change of the file changes none of them."""
    path = tmp_path / "x.npz"
    write_archive(path, {}, {"a": np.arange(1000.0), "b": np.arange(8)})
    found = read_archive(path).arrays
    wholes = {id(array.base) for array in found.values()}
    assert len(wholes) == 1
    assert len(found["a"].base) == path.stat().st_size
    path.write_bytes(bytes(path.stat().st_size))
    assert found["a"].tobytes() == np.arange(1000.0).tobytes()


def test_a_file_of_more_than_2_gib_has_other_records(reading, monkeypatch):
    """They are had sooner here: zipfile is told that 1,000 bytes are the most that the plain ones can say."""
    arrays = {f"a{i}": np.arange(100.0) for i in range(4)}
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    data = written({"n": 1}, arrays)
    assert data[-22 - len(SEAL) - 64 - 20 :].startswith(b"PK\6\7")
    found = reading(data)
    assert found.manifest == {"n": 1}
    assert all((found.arrays[name] == array).all() for name, array in arrays.items())
    end = len(data) - 22 - len(SEAL) - 64
    for place, new in {end - 12: b"\1", end - 76: b"Q", end - 76 + 40: b"\377", end - 76 + 48: b"\1"}.items():
        with pytest.raises(CorruptFileError, match=r"contradict each other|its directory is"):
            reading(resealed(data[:place] + new + data[place + 1 :]))


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([None]), "object"),
        (np.zeros(2, "i4,f4"), r"\[\('f0', '<i4'\), \('f1', '<f4'\)\]"),
        (np.zeros(2, complex), "complex128"),
        (np.array([b"bytes"]), r"\|S5"),
        (np.array(["2020-01-01"], "M8[D]"), r"datetime64\[D\]"),
        (np.array(["a" * 10_000]), "<U10000"),
    ],
)
def test_an_array_that_cannot_be_saved(array, dtype, tmp_path):
    (tmp_path / "x.npz").write_text("old")
    with pytest.raises(ValueError, match=f"layers/0/W: an array of dtype {dtype} cannot be saved"):
        write_archive(tmp_path / "x.npz", {}, {"layers/0/W": array})
    assert os.listdir(tmp_path) == ["x.npz"]
    assert (tmp_path / "x.npz").read_text() == "old"


@pytest.mark.parametrize("name", ["a\0b", "a" * 1001, "\ud800"])
def test_a_name_that_cannot_be_saved(name):
    with pytest.raises(ValueError, match=r"cannot be the name|surrogates not allowed"):
        written({}, {name: np.zeros(1)})


def test_what_could_not_be_read_is_not_written():
    with pytest.raises(ValueError, match=r"200,006 values.*The most is in model/losses\. Long lists are best"):
        written({"model": {"losses": [0] * 200_000, "name": "x"}}, {})
    with pytest.raises(ValueError, match=r"4,194,3\d\d bytes.*The most is in x\."):
        written({"x": "a" * 4 * 1024 * 1024}, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        written({"x": float("nan")}, {})
    with pytest.raises(ValueError, match="3,000 arrays are too many for one file; join small ones"):
        written({}, {f"{i:0990}": np.zeros(0, bool) for i in range(3000)})


# ---------------------------------------------------------------------- damage


def test_every_truncation_and_every_flipped_bit(reading):
    data = written({"a": 1}, {"b": np.arange(2, dtype="u1"), "c": np.asfortranarray(np.ones((2, 2), "f4"))})
    for length in range(len(data)):
        with pytest.raises(CorruptFileError, match="does not end as its files do"):
            reading(data[:length])
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptFileError, match=r"SHA-256 is not the one|does not end as its files do"):
            reading(flipped)
    for more in (b"\0", b" ", data):
        with pytest.raises(CorruptFileError, match=r"does not end as its files do|SHA-256 is not the one"):
            reading(data + more)


def test_other_files(reading, tmp_path):
    np.savez(tmp_path / "numpy.npz", a=np.arange(3))
    for data in (b"", b"PK", b"\x80\x04K\x01.", (tmp_path / "numpy.npz").read_bytes(), SEAL + b"0" * 64):
        with pytest.raises(
            CorruptFileError,
            match=r"x.npz: damaged, or not written by minidense: it does not end as its files do; it is cut off",
        ):
            reading(data)
    with pytest.raises(
        ValueError, match=r"x.npz: written by an earlier minidense, in layout 1.*train or save"
    ) as caught:
        reading(zipped([("manifest.json", b"{}")], b"minidense; SHA-256 of manifest.json: " + b"0" * 64))
    assert type(caught.value) is ValueError


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="not a regular file"):
            read_archive(path)
    with pytest.raises(IsADirectoryError):
        read_archive(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "none")


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    """It is shorter or longer by then than it was when it was opened."""
    data, path = written({}, {"a": np.arange(9)}), tmp_path / "x.npz"
    fstat = os.fstat
    for later in (data[:-1], b""):
        path.write_bytes(data)

        def changed(descriptor, later=later):
            status = fstat(descriptor)
            path.write_bytes(later)
            return status

        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", changed)
            with pytest.raises(CorruptFileError, match="cut off"):
                read_archive(path)


# ---------------------------------------------------------------------- forgery


MANIFEST, A = {"format": 2}, npy("<f4", (2,), bytes(8))


def with_a(content):
    return sealed(MANIFEST, {"a": content})


def with_manifest(text):
    return sealed(text, {"a": A})


def headed(text):
    """An npy file of any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)


def patched(data, directory_offset, new, member=1):
    """Some bytes of a member's entry in the directory replaced."""
    place = -1
    for _ in range(member + 1):
        place = data.index(b"PK\1\2", place + 1)
    place += directory_offset
    return resealed(data[:place] + new + data[place + len(new) :])


def a_hole(data):
    """Bytes between the members and the directory, whose place is told rightly."""
    place = data.index(b"PK\1\2")
    end = len(data) - 22 - len(SEAL) - 64
    moved = data[:place] + b"hole" + data[place:end] + data[end : end + 16] + struct.pack("<L", place + 4)
    return resealed(moved + data[end + 20 :])


def ended(data, size=None, place=None):
    """Another size or place of the directory in the record at the end."""
    end = len(data) - 22 - len(SEAL) - 64
    old = struct.unpack("<LL", data[end + 12 : end + 20])
    new = struct.pack("<LL", old[0] if size is None else size, old[1] if place is None else place)
    return resealed(data[: end + 12] + new + data[end + 20 :])


GOOD = sealed(MANIFEST, {"a": A, "b": A})
FORGED = {
    "a member twice": (sealed(MANIFEST, {"a": A}, [("a.npy", A)]), "two members 'a.npy'"),
    "a manifest twice": (sealed(MANIFEST, {}, [("manifest.json", b"{}")]), "two members 'manifest.json'"),
    "a member more": (sealed(MANIFEST, {"a": A}, [("more", b"")]), "its member 'more' is no array"),
    "no manifest": (resealed(zipped([("a.npy", A)], SEAL + bytes(64))), "it has no manifest.json"),
    "no member": (resealed(zipped([], SEAL + bytes(64))), "it has no manifest.json"),
    "compressed": (sealed(MANIFEST, {"a": A}, compression=8), "'manifest.json' is compressed or encrypted"),
    "compressed, says one flag": (patched(GOOD, 10, b"\x08"), "'a.npy' is compressed or encrypted"),
    "encrypted": (patched(GOOD, 8, b"\x01"), "'a.npy' is compressed or encrypted"),
    "sizes that differ": (patched(GOOD, 20, b"\x01"), "'a.npy' is compressed or encrypted"),
    "a later zip": (patched(GOOD, 6, b"\xff"), "zip file version"),
    "overlapping": (patched(GOOD, 42, bytes(4)), "'a.npy' is not where the one before it ends"),
    "overlapping, smaller": (patched(GOOD, 20, struct.pack("<LL", 8, 8)), "'b.npy' is not where the one before"),
    "larger than the file": (patched(GOOD, 20, b"\xfe\xff\xff\x7f" * 2, member=2), "its last member is not where"),
    "larger, by zip64": (patched(GOOD, 20, b"\xff" * 8), "Corrupt zip64 extra field|File size|not where"),
    "elsewhere, by zip64": (patched(GOOD, 42, b"\xff" * 4), "Corrupt zip64 extra field|not where"),
    "no local header": (resealed(b"PK\3\5" + GOOD[4:]), "'manifest.json' is not where"),
    "a long extra field": (resealed(GOOD[:28] + b"\xff\xff" + GOOD[30:]), "'a.npy' is not where"),
    "a hole": (a_hole(GOOD), "its last member is not where its directory begins"),
    "data before": (resealed(b"#!/bin/sh\n" + GOOD), "its directory is not where its end says"),
    "data before, told": (
        ended(b"#!/bin/sh\n" + GOOD, place=10 + GOOD.index(b"PK\1\2")),
        "'manifest.json' is not where the one before it ends",
    ),
    "100,000 entries": (
        sealed(MANIFEST, {}, [(f"{i}.npy", b"") for i in range(100_000)]),
        "its directory is too large",
    ),
    "a directory of 4 GB": (ended(GOOD, size=2**32 - 1), "its directory is too large"),
    "a directory elsewhere": (ended(GOOD, place=0), "its directory is not where its end says"),
    "an empty directory": (
        ended(GOOD, 0, len(GOOD) - 22 - len(SEAL) - 64),
        "its last member is not where its directory begins",
    ),
    "a large manifest": (with_manifest(b'"' + b"x" * 4 * 1024 * 1024 + b'"'), "its manifest is too large"),
    "many values": (with_manifest(b"[" + b"0," * 200_000 + b"0]"), "its manifest is too large"),
    "deep JSON": (with_manifest(b"[" * 100_000), "recursion"),
    "no JSON": (with_manifest(b"{"), "Expecting property name"),
    "no text": (with_manifest(b'{"a": "\xff"}'), "can't decode byte"),
    "no object": (with_manifest(b"[]"), "its manifest is not an object"),
    "a key twice": (with_manifest(b'{"a": {"b": 1, "b": 2}}'), "its manifest has a key twice"),
    "NaN": (with_manifest(b'{"a": NaN}'), "its manifest has the number NaN"),
    "-Infinity": (with_manifest(b'{"a": -Infinity}'), "its manifest has the number -Infinity"),
    "1e999": (with_manifest(b'{"a": 1e999}'), "its manifest has the number 1e999"),
    "a long number": (with_manifest(b'{"a": ' + b"1" * 10_000 + b"}"), "Exceeds the limit"),
    "a shape of 1e12": (with_a(npy("<f4", (10**12,), bytes(8))), "'a.npy' is of another size than its header says"),
    "a shape that overflows": (with_a(npy("<f4", (2**62, 2**62, 2), bytes(8))), "'a.npy' is of another size"),
    "a wide empty shape": (with_a(npy("<f4", (2**62, 2**62, 0), b"")), "too big|too large|Maximum allowed"),
    "a negative shape": (with_a(npy("<f4", (-1, -2), bytes(8))), "the header of 'a.npy' is not as NumPy writes it"),
    "a shape of truths": (with_a(npy("<f4", (True, 2), bytes(8))), "the header of 'a.npy' is not as NumPy writes it"),
    "33 axes": (with_a(npy("<f4", (1,) * 32 + (2,), bytes(8))), "the header of 'a.npy' is not as NumPy writes it"),
    "a byte less": (with_a(A[:-1]), "'a.npy' is of another size than its header says"),
    "a byte more": (with_a(A + b"\0"), "'a.npy' is of another size than its header says"),
    "objects": (with_a(npy("|O", (1,), bytes(8))), "'a.npy' is of dtype '|O'"),
    "structured": (with_a(npy([("x", "<f4")], (2,), bytes(8))), "the header of 'a.npy' is not as NumPy writes it"),
    "structured by commas": (with_a(npy("<f4,<f4", (1,), bytes(8))), "'a.npy' is of dtype '<f4,<f4'"),
    "big-endian": (with_a(npy(">f4", (2,), bytes(8))), "'a.npy' is of dtype '>f4'"),
    "times": (with_a(npy("<M8[s]", (1,), bytes(8))), "'a.npy' is of dtype '<M8[s]'"),
    "no dtype": (with_a(npy("nonsense", (1,), bytes(8))), "'a.npy' is of dtype 'nonsense'"),
    "no npy file": (with_a(b"something"), "the header of 'a.npy' is not as NumPy writes it"),
    "nothing": (with_a(b""), "the header of 'a.npy' is not as NumPy writes it"),
    "version 2": (with_a(b"\x93NUMPY\x02\x00" + A[8:]), "the header of 'a.npy' is not as NumPy writes it"),
    "a header cut off": (with_a(A[:40]), "the header of 'a.npy' is not as NumPy writes it"),
    "a huge header": (
        with_a(headed(A[10:-8].rstrip().ljust(60_000))),
        "the header of 'a.npy' is not as NumPy writes it",
    ),
    "a deep header": (with_a(headed(b"(" * 9000 + b")" * 9000)), "the header of 'a.npy' is not as NumPy writes it"),
    "a deep header, minus": (with_a(headed(b"-" * 9000 + b"1")), "the header of 'a.npy' is not as NumPy writes it"),
    "a deep header, not": (with_a(headed(b"not " * 2400 + b"1")), "the header of 'a.npy' is not as NumPy writes it"),
    "a header that calls": (
        with_a(headed(b"__import__('os').getcwd()")),
        "the header of 'a.npy' is not as NumPy writes it",
    ),
    "a header with a key more": (
        with_a(headed(A[10:-8].replace(b"{", b"{'x': 1, "))),
        "the header of 'a.npy' is not as NumPy writes it",
    ),
    "a header of Python 2": (with_a(headed(A[10:-8].replace(b"(2,)", b"(2L,)"))), "the header of 'a.npy' is not as"),
    "a header of another length": (with_a(A[:8] + b"\x77" + A[9:]), "the header of 'a.npy' is not as NumPy writes it"),
    "a header of other letters": (with_a(headed(A[10:-8].replace(b"<f4", "ª".encode()))), "'a.npy' is of dtype"),
    "a header of no text": (with_a(headed(b"\xff\0")), "the header of 'a.npy' is not as NumPy writes it"),
    "a header of open quotes": (with_a(headed(b"'''\n")), "the header of 'a.npy' is not as NumPy writes it"),
    "a truth that is 2": (with_a(npy("|b1", (2,), b"\1\2")), "bytes that are no values of dtype '|b1'"),
    "text of no characters": (with_a(npy("<U1", (1,), b"\0\0\x11\0")), "bytes that are no values of dtype '<U1'"),
}


def test_what_the_forger_starts_from_is_good(reading):
    found = reading(GOOD)
    assert found.manifest == MANIFEST
    assert found.arrays.keys() == {"a", "b"}
    parts = [("manifest.json", json.dumps(MANIFEST).encode()), ("a.npy", A), ("b.npy", A)]
    assert members(GOOD) == parts
    assert taken_apart(GOOD) == (MANIFEST, {"a": A, "b": A})
    assert members(written(MANIFEST, found.arrays))[0] == parts[0]


@pytest.mark.parametrize(("data", "message"), FORGED.values(), ids=FORGED)
def test_forged_files(data, message, reading):
    pattern = message if " zip64 " in message or "too big" in message else re.escape(message)
    with pytest.raises(CorruptFileError, match=f"x.npz: damaged, or not written by minidense: .*({pattern})"):
        reading(data)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_anything_with_a_right_digest(data):
    """Bytes changed anywhere: what is read is an archive still, or a CorruptFileError."""
    forged = bytearray(GOOD[:-64])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(forged) - 1))
        new = data.draw(
            st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"PK\1\2", b"PK\5\6", b"PK\6\7"]))
        )
        forged[place : place + len(new)] = new
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        path = Path(folder) / "x.npz"
        path.write_bytes(resealed(bytes(forged) + bytes(64)))
        try:
            found = read_archive(path)
        except CorruptFileError:
            return
        assert isinstance(found.manifest, dict)
        assert sum(array.nbytes for array in found.arrays.values()) <= len(GOOD)
        for array in found.arrays.values():
            array.tolist()


def test_the_limits_are_checked_before_anything_is_allocated(reading, monkeypatch):
    """zipfile does not see a directory that is too large, nor json a manifest."""

    def seen(*arguments, **options):
        raise AssertionError("it was parsed")

    for case, parser in {
        "100,000 entries": (zipfile, "ZipFile"),
        "many values": (json, "loads"),
        "a large manifest": (json, "loads"),
        "a shape of 1e12": (np, "ndarray"),
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(*parser, seen)
            with pytest.raises(CorruptFileError, match=r"too large|of another size"):
                reading(FORGED[case][0])


def test_memory_that_does_not_suffice_is_no_damage(reading, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(archive, "_parsed", full)
    with pytest.raises(MemoryError):
        reading(GOOD)
