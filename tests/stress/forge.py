"""What an attacker writes: archives of any members and any manifest, whose digest and checksums are right."""

import hashlib
import io
import json
import struct
import warnings
import zipfile

SEAL = b"minidense; SHA-256 of all before: "


def members(data):
    """The members of an archive, in order: a list of (name, bytes)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def taken_apart(data):
    """(manifest, {name: npy bytes}) of an archive."""
    found = dict(members(data))
    return json.loads(found.pop("manifest.json")), {name.removesuffix(".npy"): npy for name, npy in found.items()}


def npy(dtype, shape, body, fortran=False):
    """An ``.npy`` file whose header says that; the dtype is text or what ``repr`` makes such text of."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {tuple(shape)!r}, }}".encode()
    padded = -(-(11 + len(text)) // 64) * 64 - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", padded) + text.ljust(padded - 1) + b"\n" + body


def zipped(parts, comment=b"", compression=zipfile.ZIP_STORED):
    """An archive of these members, doubled ones too."""
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w", compression) as archive:
        archive.comment = comment
        for name, content in parts:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.compress_type = name, compression
            archive.writestr(info, content)
    return out.getvalue()


def resealed(data):
    """The same bytes with the digest that is right for them."""
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


def sealed(manifest, arrays, extra=(), compression=zipfile.ZIP_STORED):
    """An archive of a manifest as text or as an object, of arrays as npy bytes, and of other members (name, bytes)."""
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    parts = [("manifest.json", text), *[(f"{name}.npy", content) for name, content in arrays.items()], *extra]
    return resealed(zipped(parts, SEAL + bytes(64), compression))
