"""Arrays and a manifest in one NumPy ``.npz`` file that ends in the SHA-256 of all its other bytes.

It is an uncompressed zip archive of ``manifest.json`` and of one ``.npy`` member per array, which ``numpy.load`` reads.
Its comment ends the file: 64 hexadecimal digits, the digest of every byte before them. A file is read into memory once,
and its arrays are views of that memory. The digest finds damage, but whoever forges a file can compute it too.
So sizes are checked before anything is allocated, and every part before it is used.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from minidense.core.arguments import file_path
from minidense.core.errors import CorruptFileError
from minidense.core.types import Array
from minidense.files.atomic import replace_file

LARGEST_MANIFEST = 4 * 1024 * 1024
"""In bytes: some thousands of layers."""

MOST_NODES = 200_000
"""Values in the manifest, each of which takes up to 230 bytes of memory."""

_LARGEST_DIRECTORY = 2 * 1024 * 1024  # some 30,000 arrays
_CHUNK = 1024 * 1024
_MANIFEST = "manifest.json"
_SEAL, _SEAL_OF_LAYOUT_1 = b"minidense; SHA-256 of all before: ", b"minidense; SHA-256 of manifest.json: "
_DIGITS = 64
_HEADER = re.compile(  # of a .npy member, as NumPy writes it; it is not parsed as Python, as NumPy would
    rb"\x93NUMPY\x01\x00(..){'descr': '([^']{1,20})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,19},|[0-9]{1,19}(?:, [0-9]{1,19}){1,31})?)\), } *\n",
    re.DOTALL,
)
_DTYPE = re.compile(r"<f[248]|<[iu][248]|\|[iu]1|\|b1|<U[1-9][0-9]{0,3}")
_LARGEST_CODE = {"b": ("u1", 1), "U": ("<u4", 0x10FFFF)}  # the kinds of dtype of which some bytes are no values


def write_archive(path: str | os.PathLike[str], manifest: dict[str, Any], arrays: Mapping[str, Array]) -> None:
    """Replace ``path`` by an archive of a manifest, which JSON can express, and of arrays of numbers, booleans or text.

    The same contents give the same bytes. Raises OSError, or ValueError for what no archive can hold; the file that
    was there is then as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_archive(f"{folder}/a.npz", {"epoch": 3}, {"layers/0/b": np.zeros(2, np.float32)})
    ...     read_archive(f"{folder}/a.npz")[1:]
    ({'epoch': 3}, {'layers/0/b': array([0., 0.], dtype=float32)})
    """
    replace_file(path, lambda file: dump(file, manifest, arrays))


def dump(file: BinaryIO, manifest: dict[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write the archive into an empty file that is open for reading and writing."""
    text = json.dumps(manifest, allow_nan=False).encode()
    if len(text) > LARGEST_MANIFEST or _nodes(text) > MOST_NODES:
        raise ValueError(
            f"the description of this model, all but its arrays, is {len(text):,} bytes and {_nodes(text):,} values "
            f"long; a file can have {LARGEST_MANIFEST:,} and {MOST_NODES:,}. The most is in {_largest_part(manifest)}. "
            f"Long lists are best kept as arrays, or lists of numbers."
        )
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = _SEAL + bytes(_DIGITS)
        archive.writestr(_member(_MANIFEST), text)
        for name, array in arrays.items():
            array = np.asarray(array, array.dtype.newbyteorder("<"))
            if not _DTYPE.fullmatch(array.dtype.str):
                raise ValueError(
                    f"{name}: an array of dtype {array.dtype} cannot be saved; numbers, booleans and text can."
                )
            with archive.open(_member(f"{name}.npy"), "w", force_zip64=array.nbytes > 2**30) as out:
                npy.write_array(out, array, version=(1, 0), allow_pickle=False)
    if file.tell() - archive.start_dir > _LARGEST_DIRECTORY:
        raise ValueError(f"{len(arrays):,} arrays are too many for one file; join small ones.")
    size = file.seek(-_DIGITS, os.SEEK_END)
    file.seek(0)
    digest = hashlib.sha256()
    for start in range(0, size, _CHUNK):
        digest.update(file.read(min(_CHUNK, size - start)))
    file.seek(size)
    file.write(digest.hexdigest().encode())


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


def _member(name: str) -> zipfile.ZipInfo:
    """What the zip file says of a member: nothing of the day or the machine, for equal contents to give equal files."""
    member = zipfile.ZipInfo(name)
    if member.filename != name or len(name.encode()) > 1000:
        raise ValueError(f"{name[:100]!r} cannot be the name of an array in a file: it is too long, or not only text.")
    member.create_system, member.external_attr = 3, 0o644 << 16
    return member


class Archive(NamedTuple):
    """What a file holds."""

    path: str
    manifest: dict[str, Any]
    arrays: dict[str, Array]
    """Read-only views of the file in memory, in any alignment. To compute with them, copy them."""


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Read a file that ``write_archive`` wrote.

    Raises CorruptFileError for any other file, ValueError for one of an earlier layout, OSError where it cannot be
    read, and MemoryError.
    """
    name = file_path("path", path)
    data = _contents(name)
    if data[-len(_SEAL_OF_LAYOUT_1) - _DIGITS : -_DIGITS] == _SEAL_OF_LAYOUT_1:
        raise ValueError(
            f"{name}: written by an earlier minidense, in layout 1, which this one does not read; "
            f"train or save the model again."
        )
    try:
        members = _members(data)
        manifest = _parsed(members.pop(_MANIFEST))
        return Archive(name, manifest, {key.removesuffix(".npy"): _array(key, body) for key, body in members.items()})
    except MemoryError:
        raise
    except Exception as error:  # zipfile, json and NumPy raise many kinds for what is malformed
        why = (str(error) or type(error).__name__).partition("\n")[0].rstrip(".")
        why = why if len(why) <= 300 else why[:300] + " ..."
        raise CorruptFileError(f"{name}: damaged, or not written by minidense: {why}.") from None


def _contents(path: str) -> bytes:
    """A regular file as it is now. A pipe is not waited for, and a device not read."""
    extra = sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOCTTY"))
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | extra)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        return file.read(status.st_size)


def _members(data: bytes) -> dict[str, memoryview]:
    """The contents of the zip file's members by their names. They fill the file up to its directory, gaplessly."""
    directory, view, end = _directory(data), memoryview(data), 0
    members: dict[str, memoryview] = {}
    for member in zipfile.ZipFile(io.BytesIO(data), metadata_encoding="ascii").infolist():  # cp437 would be imported
        name = member.filename
        if name in members:
            raise ValueError(f"it has two members {name!r}")
        if member.compress_type or member.flag_bits & ~0x800 or member.compress_size != member.file_size:
            raise ValueError(f"its member {name!r} is compressed or encrypted")  # 0x800: the name is UTF-8
        if name != _MANIFEST and not name.endswith(".npy"):
            raise ValueError(f"its member {name!r} is no array")
        if member.header_offset != end or data[end : end + 4] != b"PK\3\4":
            raise ValueError(f"its member {name!r} is not where the one before it ends")
        start = end + 30 + sum(struct.unpack_from("<HH", data, end + 26))  # the lengths of name and extra field
        end = start + member.file_size
        members[name] = view[start:end]
    if end != directory:
        raise ValueError("its last member is not where its directory begins")
    if _MANIFEST not in members:
        raise ValueError(f"it has no {_MANIFEST}")
    return members


def _directory(data: bytes) -> int:
    """Where the directory begins, once the file's end and digest are found right and its directory small."""
    end = len(data) - _DIGITS - len(_SEAL) - 22
    if data[-_DIGITS - len(_SEAL) : -_DIGITS] != _SEAL or data[end : end + 4] != b"PK\5\6":
        raise ValueError("it does not end as its files do; it is cut off, or something else")
    if hashlib.sha256(memoryview(data)[:-_DIGITS]).hexdigest().encode() != data[-_DIGITS:]:
        raise ValueError("its SHA-256 is not the one that was written")
    size, place = struct.unpack_from("<LL", data, end + 12)
    if data[end - 20 : end - 16] == b"PK\6\7":  # files of over 2 GiB have two more records of 56 and 20 bytes here
        end -= 76
        size, place, record = struct.unpack_from("<QQ8xQ", data, end + 40)
        if record != end or data[end : end + 4] != b"PK\6\6":
            raise ValueError("its end records contradict each other")
    if size > _LARGEST_DIRECTORY:
        raise ValueError("its directory is too large")
    if place + size != end:
        raise ValueError("its directory is not where its end says")
    return int(place)


def _parsed(text: memoryview) -> dict[str, Any]:
    """The manifest."""
    if len(text) > LARGEST_MANIFEST or _nodes(bytes(text)) > MOST_NODES:
        raise ValueError("its manifest is too large")
    manifest = json.loads(
        str(text, "utf-8"), object_pairs_hook=_object, parse_constant=_finite_number, parse_float=_finite_number
    )
    if not isinstance(manifest, dict):
        raise ValueError("its manifest is not an object")
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its manifest has a key twice")
    return found


def _finite_number(literal: str) -> float:
    if not math.isfinite(number := float(literal)):
        raise ValueError(f"its manifest has the number {literal[:50]}")
    return number


def _array(name: str, body: memoryview) -> Array:
    """The array of one member, as a view."""
    header = _HEADER.match(body)
    if header is None or header.end() != 10 + int.from_bytes(header[1], "little"):
        raise ValueError(f"the header of {name!r} is not as NumPy writes it")
    text = header[2].decode("ascii", "replace")
    if not _DTYPE.fullmatch(text):
        raise ValueError(f"{name!r} is of dtype {text!r}")
    dtype, shape, start = np.dtype(text), tuple(map(int, header[4].replace(b",", b" ").split())), header.end()
    if start + math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{name!r} is of another size than its header says")
    array: Array = np.ndarray(shape, dtype, body, start, order="F" if header[3] == b"True" else "C")
    kind, largest = _LARGEST_CODE.get(dtype.kind, ("", 0))
    if kind and np.frombuffer(body[start:], kind).max(initial=0) > largest:
        raise ValueError(f"{name!r} has bytes that are no values of dtype {dtype.str!r}")
    return array
