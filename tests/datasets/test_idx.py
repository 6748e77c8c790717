"""The IDX format, damaged files, and Fashion-MNIST if its files are missing."""

import gzip

import numpy as np
import pytest

import minidense as md

HEADER = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
def test_idx(tmp_path, packed, code, dtype):
    array = np.array([[1, -2, 3], [4, 5, 6]]).astype(dtype)
    content = bytes([0, 0, code, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    loaded = md.datasets.load_idx(path)
    assert loaded.dtype == array.dtype
    assert np.array_equal(loaded, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file"),
        (b"PK\3\4 not this", "expected an IDX file"),
        (HEADER[:7], "expected a header of 12 bytes, got 7"),
        (HEADER + bytes(5), r"expected 18 bytes for an array of shape \(2, 3\), got 17"),
        (HEADER + bytes(7), "got 19"),
        (gzip.compress(HEADER + bytes(6))[:-9], "gzip data is damaged"),
    ],
)
def test_damaged_idx_files(tmp_path, content, message):
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        md.datasets.load_idx(path)


def test_fashion_mnist_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="apt install dataset-fashion-mnist"):
        md.datasets.load_fashion_mnist(tmp_path)
    monkeypatch.setenv("MINIDENSE_DATA", str(tmp_path))
    monkeypatch.setattr(md.datasets.idx, "_DEBIAN", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        md.datasets.load_fashion_mnist()


def test_fashion_mnist_from_a_folder_of_four_files(tmp_path, monkeypatch):
    parts = {
        "train-images-idx3": (np.arange(5 * 4, dtype="u1").reshape(5, 2, 2), "-ubyte.gz"),
        "train-labels-idx1": (np.arange(5, dtype="u1"), "-ubyte"),
        "t10k-images-idx3": (np.full((3, 2, 2), 7, "u1"), "-ubyte"),
        "t10k-labels-idx1": (np.array([2, 1, 0], "u1"), "-ubyte.gz"),
    }
    monkeypatch.setenv("MINIDENSE_DATA", str(tmp_path))
    monkeypatch.setattr(md.datasets.idx, "_DEBIAN", str(tmp_path / "nowhere"))
    for name, (array, ending) in parts.items():
        with pytest.raises(FileNotFoundError, match=f"four files .* are not in {tmp_path}"):
            md.datasets.load_fashion_mnist()
        sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
        content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
        (tmp_path / f"{name}{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    for loaded in (md.datasets.load_fashion_mnist(), md.datasets.load_fashion_mnist(tmp_path)):
        for found, (expected, _) in zip([*loaded[0], *loaded[1]], parts.values(), strict=True):
            assert np.array_equal(found, expected)
