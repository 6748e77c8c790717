"""What an attacker writes: archives with any members and any manifest, all hashes and checksums right or not."""

import hashlib
import io
import json
import struct
import warnings
import zipfile

SEAL = b"minidense; SHA-256 of manifest.json: "


def members(data):
    """The members of an archive, in order: a list of (name, bytes)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def taken_apart(data):
    """(manifest, {name: npy bytes}) of an archive."""
    found = dict(members(data))
    return json.loads(found.pop("manifest.json")), {name.removesuffix(".npy"): npy for name, npy in found.items()}


def npy(dtype, shape, body, fortran=False):
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


def sealed(manifest, arrays, extra=(), compression=zipfile.ZIP_STORED):
    """An archive with a manifest as text or as an object, and the comment that goes with it."""
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    comment = SEAL + hashlib.sha256(text).hexdigest().encode()
    parts = [("manifest.json", text), *[(f"{name}.npy", content) for name, content in arrays.items()], *extra]
    return zipped(parts, comment, compression)


def signed(manifest, arrays):
    """The manifest with the right SHA-256 of each array that it names."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("arrays"), dict):
        return manifest
    entries = {
        name: {**entry, "sha256": hashlib.sha256(arrays[name]).hexdigest()}
        if isinstance(entry, dict) and name in arrays
        else entry
        for name, entry in manifest["arrays"].items()
    }
    return {**manifest, "arrays": entries}
