"""Arrays and a manifest in one NumPy ``.npz`` file, checked in all its parts before any of it is used.

The file is an uncompressed zip archive of ``.npy`` members, which ``numpy.load`` reads, and of ``manifest.json``. The
manifest names every array with its dtype, shape and SHA-256, and the archive's comment has the SHA-256 of the
manifest. The header of a member follows from the manifest, and is compared with it instead of being interpreted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np

from minidense.core.arguments import checked
from minidense.core.errors import CorruptFileError
from minidense.core.types import Array, Shape
from minidense.files.atomic import replace_file

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 4 * 1024 * 1024
"""In bytes: some thousands of layers."""

MOST_NODES = 200_000
"""Values in the manifest, each of which takes up to 230 bytes of memory."""

_LARGEST_DIRECTORY = 2 * 1024 * 1024
_CHUNK = 1024 * 1024
_SEAL = b"minidense; SHA-256 of manifest.json: "
_SEAL_BYTES = len(_SEAL) + 64
_DTYPE = re.compile(r"<f[48]|<[iu][248]|\|[iu]1|\|b1|<U[1-9][0-9]{0,3}")
_SIGNS_OF_DAMAGE = (
    *(zipfile.BadZipFile, struct.error, EOFError),
    *(ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError),
)
_UTF8_NAME = 0x800  # the one flag that a member may have


def write_archive(path: str | os.PathLike[str], manifest: dict[str, Any], arrays: Mapping[str, Array]) -> None:
    """Replace ``path`` by an archive of ``arrays`` and ``manifest``, to which it adds the list of the arrays.

    The same contents give the same bytes. Raises OSError, or ValueError for what no archive can hold; the file that
    was there is then as it was.
    """
    replace_file(path, lambda file: dump(file, manifest, arrays))


def dump(file: BinaryIO, manifest: dict[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write the archive into an open file."""
    portable = {name: _portable(name, array) for name, array in arrays.items()}
    entries = {name: _entry_of(array) for name, array in portable.items()}
    content = {**manifest, "arrays": entries}
    text = json.dumps(content, indent=1, allow_nan=False).encode()
    if len(text) > LARGEST_MANIFEST:
        text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > LARGEST_MANIFEST or _nodes(text) > MOST_NODES:
        raise ValueError(
            f"the description of this model, all but its arrays, is {len(text):,} bytes and {_nodes(text):,} values "
            f"long; a file can have {LARGEST_MANIFEST:,} and {MOST_NODES:,}. The most is in {_largest_part(manifest)}. "
            f"Long lists are best kept as arrays, or lists of numbers."
        )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = _SEAL + hashlib.sha256(text).hexdigest().encode()
        _add(archive, MANIFEST, text, b"")
        for name, array in portable.items():
            _add(archive, f"{name}.npy", _header_of(array), array)


def _nodes(text: bytes) -> int:
    """At least how many values a JSON text has."""
    return sum(map(text.count, (b",", b":", b"[", b"{")))


def _largest_part(data: Any, where: str = "the manifest") -> str:
    """The deepest place in the manifest that has more than half of it."""
    while isinstance(data, dict | list) and data:
        parts = data.items() if isinstance(data, dict) else enumerate(data)
        sizes = {key: len(json.dumps(part)) for key, part in parts}
        key = max(sizes, key=sizes.__getitem__)
        if sizes[key] < sum(sizes.values()) / 2:
            break
        data, where = data[key], f"{where}/{key}"
    return where.removeprefix("the manifest/")


def _portable(name: str, array: Array) -> Array:
    array = np.asarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    if not array.flags.f_contiguous:
        array = np.asarray(array, order="C")
    if not _DTYPE.fullmatch(array.dtype.str):
        raise ValueError(f"{name}: an array of dtype {array.dtype} cannot be saved; numbers, booleans and text can.")
    return array


def _bytes(array: Array) -> memoryview:
    """The array's bytes in the order that they have in memory."""
    return memoryview(np.ravel(array, order="K").view(np.uint8).data)


def _by_columns(array: Array) -> bool:
    return array.flags.f_contiguous and not array.flags.c_contiguous


def _entry_of(array: Array) -> dict[str, Any]:
    """What the manifest says of an array."""
    digest = hashlib.sha256(_header_of(array))
    digest.update(_bytes(array))
    entry = {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": digest.hexdigest()}
    return entry | ({"fortran_order": True} if _by_columns(array) else {})


def _header_of(array: Array) -> bytes:
    return _header(array.dtype.str, array.shape, _by_columns(array))


def _header(dtype: str, shape: Shape, by_columns: bool) -> bytes:
    """How a ``.npy`` file of version 1.0 begins, as NumPy's documentation of the format says."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': {by_columns}, 'shape': {shape!r}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text.ljust(length - 1).encode() + b"\n"


def _add(archive: zipfile.ZipFile, name: str, head: bytes, body: bytes | Array) -> None:
    member = zipfile.ZipInfo(name)  # of a fixed date, for the same contents to give the same file
    member.create_system, member.external_attr = 3, 0o644 << 16
    content = body if isinstance(body, bytes) else _bytes(body)
    member.file_size = len(head) + len(content)
    with archive.open(member, "w") as out:
        out.write(head)
        for start in range(0, len(content), _CHUNK):
            out.write(content[start : start + _CHUNK])


class Entry(NamedTuple):
    """What the manifest says of an array."""

    dtype: str
    shape: Shape
    by_columns: bool
    sha256: str


class Archive:
    """An archive that is open for reading, and whose every byte that matters has been checked.

    Raises CorruptFileError, and OSError where the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe could be waited for, and a device read, for ever
            raise OSError(errno.EISDIR if os.path.isdir(path) else errno.EINVAL, "it is not a regular file", self.path)
        self._file = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        try:
            with self.damage_named():
                self._zip = self._open()
                self._members = self._checked_members()
                self.manifest = self._checked_manifest()
                self.entries = self._checked_entries()
                for name in self.entries:
                    self._stream(name, lambda start, data: None)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, name: str) -> Array:
        """The array of that name."""
        entry = self.entries[name]
        array = np.empty(entry.shape, entry.dtype, order="F" if entry.by_columns else "C")
        self.read_into(name, array)
        return array

    def read_into(self, name: str, out: Array) -> None:
        """Write the array of that name into ``out``, which is contiguous and of its dtype, shape and order."""
        target = np.ravel(out, order="K").view(np.uint8)

        def put(start: int, data: bytes) -> None:
            target[start : start + len(data)] = np.frombuffer(data, np.uint8)

        with self.damage_named():
            self._stream(name, put)

    @contextmanager
    def damage_named(self) -> Iterator[None]:
        """Turn what a damaged file leads to into a CorruptFileError that says where."""
        try:
            yield
        except CorruptFileError:
            raise
        except _SIGNS_OF_DAMAGE as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the file's beginning
                raise
            raise CorruptFileError(f"{self.path}: damaged, or not written by minidense: {_brief(error)}.") from None

    # ------------------------------------------------------------------ the container

    def _open(self) -> zipfile.ZipFile:
        self._size = self._file.seek(0, os.SEEK_END)
        ends = 56 + 20 + 22 + _SEAL_BYTES  # the zip format's end records, the two first of which large files have only
        self._file.seek(max(0, self._size - ends))
        tail = self._file.read()
        end = tail[-22 - _SEAL_BYTES : -_SEAL_BYTES]
        if end[:4] != b"PK\5\6" or tail[-_SEAL_BYTES:-64] != _SEAL:
            raise ValueError("it does not end as its files do; it is cut off, or something else")
        (size,) = struct.unpack("<L", end[12:16])
        if tail[56:60] == b"PK\6\7":
            (size,) = struct.unpack("<Q", tail[40:48])
        honest = re.fullmatch(b"[0-9a-f]{64}", tail[-64:]) and (tail[56:60] == b"PK\6\7") == (tail[:4] == b"PK\6\6")
        if size > _LARGEST_DIRECTORY or not honest:
            raise ValueError("its directory is too large")
        return zipfile.ZipFile(self._file, metadata_encoding="ascii")

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        members = {member.filename: member for member in self._zip.infolist()}
        if len(members) < len(self._zip.infolist()):
            raise ValueError("it has two members of one name")
        for member in members.values():
            plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & ~_UTF8_NAME
            if not plain or member.compress_size != member.file_size:
                raise ValueError(f"its member {member.filename!r} is compressed or encrypted")
        if sum(member.file_size for member in members.values()) > self._size:
            raise ValueError("its members overlap")
        if min((member.header_offset for member in members.values()), default=0):
            raise ValueError("it does not begin as its files do")
        return members

    def _checked_manifest(self) -> dict[str, Any]:
        if self._members[MANIFEST].file_size > LARGEST_MANIFEST:
            raise ValueError("its manifest is too large")
        text = self._zip.read(MANIFEST)
        if _nodes(text) > MOST_NODES:
            raise ValueError("its manifest is too large")
        if self._zip.comment != _SEAL + hashlib.sha256(text).hexdigest().encode():
            raise ValueError("its manifest is not the one that was written")
        manifest = json.loads(
            text.decode(), object_pairs_hook=_object, parse_constant=_no_such_number, parse_float=_finite_number
        )
        if not isinstance(manifest, dict):
            raise ValueError("its manifest is not an object")
        return manifest

    def _checked_entries(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for name, entry in checked(self.manifest.get("arrays"), dict, "its list of arrays").items():
            if not isinstance(entry, dict) or entry.keys() - {"fortran_order"} != {"dtype", "shape", "sha256"}:
                raise ValueError(f"its entry for {name!r} is not of dtype, shape and sha256")
            by_columns = checked(entry.get("fortran_order", False), bool, "an order")
            dtype, shape = checked(entry["dtype"], str, "a dtype"), checked(entry["shape"], list, "a shape")
            if not _DTYPE.fullmatch(dtype):
                raise ValueError(f"{name!r} is of dtype {dtype!r}")
            if len(shape) > 32 or not all(type(size) is int and 0 <= size < 2**62 for size in shape):
                raise ValueError(f"the shape of {name!r} is none")
            size = len(_header(dtype, tuple(shape), by_columns)) + math.prod(shape) * np.dtype(dtype).itemsize
            member = self._members.get(f"{name}.npy")
            if member is None or member.file_size != size:
                raise ValueError(f"its member {name + '.npy'!r} is missing or of another size")
            entries[name] = Entry(dtype, tuple(shape), by_columns, checked(entry["sha256"], str, "a SHA-256"))
        expected = {MANIFEST, *(f"{name}.npy" for name in entries)}
        if strange := self._members.keys() - expected:
            raise ValueError(f"it has members that its manifest does not name: {sorted(strange)[:5]}")
        return entries

    def _stream(self, name: str, take: Callable[[int, bytes], None]) -> None:
        """Give ``take(start, data)`` the array's bytes, a chunk at a time; raise where they are not those written."""
        entry = self.entries[name]
        header = _header(entry.dtype, entry.shape, entry.by_columns)
        with self._zip.open(f"{name}.npy") as member:
            head = member.read(len(header))
            digest, start = hashlib.sha256(head), 0
            while data := member.read(_CHUNK):
                digest.update(data)
                take(start, data)
                start += len(data)
        if head != header or digest.hexdigest() != entry.sha256:
            raise ValueError(f"its member {name + '.npy'!r} is not the one that was written")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its manifest has a key twice")
    return found


def _no_such_number(literal: str) -> float:
    raise ValueError(f"its manifest has the number {literal}")


def _finite_number(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError("its manifest has a number that is too large")
    return number


def _brief(error: BaseException) -> str:
    text = str(error).rstrip(".") or type(error).__name__
    return text if len(text) <= 300 else text[:300] + " ..."
