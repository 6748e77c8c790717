"""Attacks on model files: every truncation, every flipped bit, and structured mutations, most with a correct digest.

    python tests/stress/attacks.py                 all of it: some minutes
    python tests/stress/attacks.py --sample 2000   2000 of each kind, as the tests do

A load may give a model that is what the file says, or one CorruptFileError or ValueError. Everything else counts as
a failure: another error, a model that is not what the file says, code that runs, an import, another file opened, a
load of more than a second, more memory than twice the file and 50 MB.
"""

import argparse
import copy
import io
import json
import os
import pickle
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from forge import SEAL, members, npy, sealed, signed, taken_apart, zipped

import minidense as md
from minidense.files import saving

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = ["model-1.npz", "weights-1.npz", "checkpoint-1.npz"]

SLOWEST = 1.0
SPARE_MEMORY = 50_000_000


# ---------------------------------------------------------------------- watching

FORBIDDEN = ("exec", "compile", "import", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.")


class Watch:
    """Records what a load does besides loading."""

    def __init__(self):
        self.target, self.seen = None, []
        sys.addaudithook(self.note)

    def note(self, event, arguments):
        if self.target is None:
            return
        if (event == "open" and arguments[0] != self.target) or event.startswith(FORBIDDEN):
            self.seen.append((event, arguments))


class Bench:
    """Loads files, and reports the outcome."""

    def __init__(self, folder, slowest=SLOWEST):
        self.slowest = slowest
        self.path = str(Path(folder) / "attacked.npz")
        self.watch = Watch()
        self.model = md.load_model(GOLDEN / "model-1.npz")
        self.outcomes, self.failures = Counter(), []
        for name in FILES:  # what loading imports is imported, once
            self.attempt((GOLDEN / name).read_bytes())
        self.attempt(b"")

    def attempt(self, data):
        """(what a load gives, how long it takes)"""
        with open(self.path, "wb") as file:
            file.write(data)
        self.watch.seen, self.watch.target = [], self.path
        start = time.perf_counter()
        try:
            found = self.load()
        except Exception as error:
            found = error
        seconds = time.perf_counter() - start
        self.watch.target = None
        return found, seconds

    def load(self):
        try:
            return md.load_model(self.path)
        except ValueError as error:
            if "has weights only" not in str(error):
                raise
            model = copy.deepcopy(self.model)
            model.load_weights(self.path)
            return model

    def attack(self, kind, data, measured=False):
        if measured:
            tracemalloc.start()
        found, seconds = self.attempt(data)
        if measured:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            if peak > 2 * len(data) + SPARE_MEMORY:
                self.failures.append((kind, f"{peak:,} bytes of memory for a file of {len(data):,}"))
        elif seconds > self.slowest:
            found, seconds = self.attempt(data)  # once may be due to another process
            if seconds > self.slowest:
                self.failures.append((kind, f"{seconds:.2f} s, {len(data):,} bytes"))
        if self.watch.seen:
            self.failures.append((kind, f"{self.watch.seen[:3]}"))
        if isinstance(found, md.CorruptFileError):
            self.outcomes[kind, "CorruptFileError"] += 1
        elif isinstance(found, ValueError):
            self.outcomes[kind, "ValueError"] += 1
        elif isinstance(found, Exception):
            self.failures.append((kind, repr(found)[:300]))
        else:
            self.outcomes[kind, "loaded"] += 1
            if difference := self.unlike(found, data):
                self.failures.append((kind, difference))

    def unlike(self, model, data):
        """What of the model is not what the file says."""
        manifest, arrays = taken_apart(data)
        if manifest["model"] is None:
            return "" if as_float32(weights(model)) == as_float32(arrays) else "other weights than the file's"
        said, held = saving.encoded(model._parts())
        arrays = {name: content for name, content in arrays.items() if not name.startswith("training/")}
        if difference := unlike(said["model"], manifest["model"], "model"):
            return difference
        named = {
            name for name in arrays if name.startswith("layers/") and name.count("/") == 2
        }  # others are referred to
        ours, theirs = contents(held), arrays
        same = all(ours.get(name) == theirs[name] for name in named) and sorted(ours.values()) == sorted(
            theirs.values()
        )
        return "" if same else "other arrays than the file's"


def contents(arrays):
    return {
        name: npy(a.dtype.str, a.shape, a.tobytes(order="A"), a.flags.f_contiguous and not a.flags.c_contiguous)
        for name, a in arrays.items()
    }


def as_float32(arrays):
    return {name: np.load(io.BytesIO(content)).astype("float32").tobytes() for name, content in arrays.items()}


def unlike(said, given, where):
    """Where a model's manifest does not say what was given. What was left out may be there by default."""
    if where.endswith(
        ("$array", "$generator/seed")
    ):  # the arrays are compared by themselves; no seed is as good as one
        return ""
    if where.endswith("/attributes"):
        given = {key: value for key, value in given.items() if key in said}  # what is set to what it is anyway
    if isinstance(given, dict) and isinstance(said, dict) and given.keys() <= said.keys():
        return next(filter(None, (unlike(said[key], given[key], f"{where}/{key}") for key in given)), "")
    if isinstance(given, list) and isinstance(said, list) and len(given) == len(said):
        return next(
            filter(None, (unlike(s, g, f"{where}/{i}") for i, (s, g) in enumerate(zip(said, given, strict=True)))), ""
        )
    same = isinstance(said, bool) == isinstance(given, bool) and (said == given or repr(said) == repr(given))
    return "" if same else f"{where} is {said!r} in the model, and {given!r} in the file"


def weights(model):
    return contents(saving.weights(model.layers))


# ---------------------------------------------------------------------- the attacks


def truncations(data):
    for length in range(len(data)):
        yield data[:length]


def flips(data):
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            yield bytes(flipped)


NAMES = ["os.system", "builtins.eval", "__import__", "subprocess:Popen", "minidense.layers.Dense", "Layer", "Sequential",
         "Callback", "ModelCheckpoint", "SGD", "zeros", "Softmax", "", "dense", "../Dense", "/etc/passwd", "Dense\x00"]  # fmt: skip
NUMBERS = [-1, 0, 1, 2, 3, 2**31, 2**62, 2**64, 10**12, 10**400, -(10**30), 0.5, -0.0, 1e308, True, False]
DTYPES = [
    "<f4",
    "<f8",
    ">f4",
    "|O",
    "O",
    "<M8[s]",
    "<c8",
    "|V4",
    "<U3",
    "|S4",
    "|b1",
    "<i8",
    "f4",
    "<f2",
    "<f16",
    "<U0",
]


def deep(n, inside="0"):
    return "[" * n + inside + "]" * n


class Mutator:
    """Draws mutations one by one."""

    def __init__(self, rng):
        self.rng = rng
        self.golden = [(GOLDEN / name).read_bytes() for name in FILES]
        self.parts = [taken_apart(data) for data in self.golden]
        self.kinds = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("m_")]

    def draw(self, i):
        """The i-th mutation: its kind and the file. Kinds take turns; files are drawn."""
        kind = self.kinds[i % len(self.kinds)]
        which = int(self.rng.integers(len(self.golden)))
        self.data = self.golden[which]
        self.manifest, self.arrays = copy.deepcopy(self.parts[which])
        return kind.__name__.removeprefix("m_"), kind()

    def one(self, things):
        things = list(things)
        return things[int(self.rng.integers(len(things)))]

    def seal(self):
        """Right hashes, or, now and then, the old ones."""
        return sealed(signed(self.manifest, self.arrays) if self.rng.random() < 0.9 else self.manifest, self.arrays)

    def comment(self):
        return self.data[-len(SEAL) - 64 :]

    # members

    def m_member_dropped(self):
        parts = members(self.data)
        parts.remove(self.one(parts))
        return zipped(parts, self.comment())

    def m_member_dropped_and_signed(self):
        name = self.one(self.arrays)
        del self.arrays[name]
        if self.rng.random() < 0.7:
            del self.manifest["arrays"][name]
        return self.seal()

    def m_member_doubled(self):
        parts = members(self.data)
        name, content = self.one(parts)
        other = self.one([content, b"", content[::-1], self.one(parts)[1]])
        parts.insert(int(self.rng.integers(len(parts) + 1)), (name, other))
        return zipped(parts, self.comment())

    def m_member_renamed(self):
        parts = members(self.data)
        i = int(self.rng.integers(len(parts)))
        name = parts[i][0]
        strange = ["../" + name, "/" + name, "/tmp/x.npy", "..\\" + name, name.upper(), name + " ", "C:" + name, "",
                   name.replace("/", "//"), "layers/0/\u03b8.npy", "a" * 5000, "con", name + "/", "./" + name]  # fmt: skip
        parts[i] = (self.one(strange), parts[i][1])
        return zipped(parts, self.comment())

    def m_array_renamed_and_signed(self):
        name = self.one(self.arrays)
        new = self.one(
            ["../" + name, "/" + name, "layers/99/W", "optimizer/x", "layers/0/W", "x", name + "/y", "layers/0/\u03b8"]
        )
        self.arrays[new] = self.arrays.pop(name)
        self.manifest["arrays"][new] = self.manifest["arrays"].pop(name)
        return self.seal()

    def m_array_added(self):
        content = npy("<f4", (2,), b"\0" * 8)
        name = self.one(["extra", "layers/0/extra", "optimizer/extra", "training/extra", "layers/7/W"])
        self.arrays[name] = content
        self.manifest["arrays"][name] = {"dtype": "<f4", "shape": [2], "sha256": ""}
        return self.seal()

    def m_members_in_another_order(self):
        parts = members(self.data)
        self.rng.shuffle(parts)
        return zipped([tuple(part) for part in parts], self.comment())

    def m_compressed(self):
        return zipped(members(self.data), self.comment(), zipfile.ZIP_DEFLATED)

    def m_nested_archive(self):
        name = self.one(self.arrays)
        self.arrays[name] = self.one([self.data, zipped([("a", b"b")])])
        return self.seal()

    def m_pickle_or_object_array(self):
        name = self.one(self.arrays)
        evil = pickle.dumps(np.array([os.system, "true"], object), 4)
        self.arrays[name] = self.one([evil, npy("|O", (1,), evil), npy("|O", (2,), b"\0" * 16)])
        self.manifest["arrays"][name].update(dtype=self.one(["|O", "<f4"]), shape=[1])
        return self.seal()

    def m_bytes_in_a_row(self):
        data = bytearray(self.data)
        place, length = int(self.rng.integers(len(data))), int(self.rng.integers(1, 200))
        data[place : place + length] = self.one(
            [b"", b"\0" * length, self.rng.bytes(length), data[place : place + 5] * 9]
        )
        return bytes(data)

    def m_more_bytes(self):
        more = self.one([b"\0", b"\n", self.rng.bytes(30), self.data, b"PK\5\6" + b"\0" * 18])
        return self.one([self.data + more, more + self.data])

    # entries of arrays

    def m_shape(self):
        entry = self.manifest["arrays"][self.one(self.arrays)]
        shape = list(entry["shape"]) or [1]
        i = int(self.rng.integers(len(shape)))
        change = int(self.rng.integers(5))
        if change == 0:
            shape[i] = self.one(NUMBERS)
        elif change == 1:
            shape = shape[::-1]
        elif change == 2:
            shape = self.one([[], [*shape, 1], [1] * 40, [0], [2**40] * 3, [-1, *shape], [2**31, 2**31, 0]])
        elif change == 3:
            shape = self.one(["(2, 3)", None, {}, 5, [[2]], ["2"], [None]])
        else:
            shape = [int(np.prod(shape))]
        entry["shape"] = shape
        return self.seal()

    def m_shape_and_header(self):
        name = self.one(self.arrays)
        entry = self.manifest["arrays"][name]
        shape = [self.one([1, 2, 3, 5, 2**20, 10**12]) for _ in range(int(self.rng.integers(1, 3)))]
        size = min(int(np.prod([float(n) for n in shape])), 4096)
        self.arrays[name] = npy(entry["dtype"], shape, b"\0" * (np.dtype(entry["dtype"]).itemsize * size))
        entry["shape"] = shape
        return self.seal()

    def m_dtype(self):
        name = self.one(self.arrays)
        entry, dtype = self.manifest["arrays"][name], self.one(DTYPES)
        entry["dtype"] = dtype
        if self.rng.random() < 0.7:
            body = self.arrays[name][-8 * (int(np.prod(entry["shape"])) or 1) :]
            itemsize = {"|O": 8, "O": 8, "<U0": 0}.get(dtype) or np.dtype(dtype).itemsize
            size = itemsize * int(np.prod(entry["shape"]))
            self.arrays[name] = npy(dtype, entry["shape"], (body * 20)[:size])
        return self.seal()

    def m_other_numbers(self):
        name = self.one(self.arrays)
        entry = self.manifest["arrays"][name]
        if entry["dtype"] in ("<f4", "<f8"):
            values = self.rng.choice([0, -0.0, np.nan, np.inf, 1e-40, 3.0], size=entry["shape"]).astype(entry["dtype"])
            self.arrays[name] = npy(entry["dtype"], entry["shape"], values.tobytes())
        return self.seal()

    # the manifest

    def places(self, data=None, found=None):
        """All (container, key) in the manifest, but for the arrays' hashes."""
        data, found = self.manifest if data is None else data, [] if found is None else found
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in pairs:
            if key not in ("sha256", "library"):
                found.append((data, key))
            if isinstance(value, dict | list):
                self.places(value, found)
        return found

    def junk(self):
        return self.one([None, True, "", "x", "relu", [], {}, [1], {"a": 1}, {"$tuple": [1]}, {"$array": "layers/0/W"},
                         {"$object": "ReLU", "config": {}, "attributes": {}}, {"$function": "zeros"}, {"$float": "nan"},
                         {"$custom_object": "X", "config": {}, "attributes": {}}, {"$generator": {}}, {"$seed": [0, [], 4, 0]},
                         {"$dict": [[[1], 2]]}, {"$dict": [[{"$tuple": [1]}, 2]]}, {"$number": "<f4", "value": 1},
                         {"$ints": "layers/0/b"}, "\ud800", "a" * 300, *NUMBERS])  # fmt: skip

    def m_value_replaced(self):
        container, key = self.one(self.places())
        container[key] = self.junk()
        return self.seal()

    def m_value_replaced_by_another(self):
        (container, key), (other, at) = self.one(self.places()), self.one(self.places())
        container[key] = copy.deepcopy(other[at])
        return self.seal()

    def m_value_dropped(self):
        container, key = self.one(self.places())
        del container[key]
        return self.seal()

    def m_key_added(self):
        container = self.one([c for c, _ in self.places() if isinstance(c, dict)])
        container[self.one(["x", "", "__class__", "__init__", "forward", "_config", "$object", "_views", "W", "rng", "takes_training",
                            "trainable", "caches", "iterations", "units", "build", "dtype", "index", "h", "transient"])] = self.junk()  # fmt: skip
        return self.seal()

    def m_attribute(self):
        model = self.manifest["model"] or {"layers": [{"attributes": {}}], "optimizer": {"attributes": {}}}
        thing = self.one([*model["layers"], model["optimizer"]])
        name = self.one(["__class__", "__dict__", "forward", "backward", "build", "_config", "_views", "_owner", "W", "dW", "units",
                         "rng", "trainable", "trusted", "takes_training", "caches", "moving_mean", "iterations", "_begun", "momentum",
                         "learning_rate", "state", "step", "rate", "epsilon", "kernel_initializer", "activation", "index"])  # fmt: skip
        thing["attributes"][name] = self.junk()
        return self.seal()

    def m_class_name(self):
        objects = [c for c, _ in self.places() if isinstance(c, dict) and "$object" in c]
        if objects:
            found = self.one(objects)
            tag = self.one(["$object", "$object", "$custom_object"])
            content = {tag: self.one(NAMES), **{k: v for k, v in found.items() if k != "$object"}}
            found.clear()
            found.update(content)
        return self.seal()

    def m_json_text(self):
        text = json.dumps(signed(self.manifest, self.arrays))
        place = text.index('"model"')
        inserted = self.one(['"format": 1, ', f'"x": {deep(100_000)}, ', f'"x": {deep(900)}, ', '"x": NaN, ', '"x": Infinity, ', '"x": -Infinity, ',
                             '"x": 1e999, ', '"x": ' + "9" * 5000 + ", ", '"model": null, "model": null, ', "'x': 1, ", "/* */", '"x": 01, '])  # fmt: skip
        changed = text[:place] + inserted + text[place:]
        return sealed(self.one([changed.encode(), changed.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), b"", b"null", b"[]",
                                deep(100_000).encode(), text.replace('"rate"', '"rate", "rate"').encode(), text.encode()[:-1],
                                text.replace("0.1", "NaN", 1).encode(), text.replace("1", "1e400", 1).encode()]), self.arrays)  # fmt: skip


def bombs():
    """Large things, whose time and memory are measured: (kind, file)."""
    data = (GOLDEN / "model-1.npz").read_bytes()
    manifest, arrays = taken_apart(data)

    def edited(edit, more=()):
        changed = copy.deepcopy(manifest)
        edit(changed["model"])
        return sealed(
            {**changed, "arrays": {**changed["arrays"], **dict(more and [more[0]])}},
            {**arrays, **dict(more and [more[1]])},
        )

    relu = {"$object": "ReLU", "config": {}, "attributes": {}}
    dense = {**manifest["model"]["layers"][0], "attributes": {}}
    wide = copy.deepcopy(dense)
    wide["config"]["units"] = 10**12
    nothing = copy.deepcopy(dense)
    nothing["config"]["units"] = 0
    nested = relu
    for _ in range(400):
        nested = {"$object": nested, "config": {}, "attributes": {}}
    zeros = npy("<f8", (3_000_000,), bytes(24_000_000))
    entry = {
        "dtype": "<f8",
        "shape": [3_000_000],
        "sha256": signed({"arrays": {"h": {}}}, {"h": zeros})["arrays"]["h"]["sha256"],
    }
    yield "deflated zeros", zipped([("manifest.json", bytes(200_000_000))], b"", zipfile.ZIP_DEFLATED)
    yield (
        "deflated member",
        sealed(manifest, {**arrays, "layers/0/W": bytes(200_000_000)}, compression=zipfile.ZIP_DEFLATED),
    )
    yield "large manifest", sealed(b" " * 60_000_000, arrays)
    yield "many lists", sealed(b"[" + b"[]," * 99_000 + b"0]", {})
    yield "many dicts", sealed(b'{"x":[' + b'{"":0},' * 66_000 + b"0]}", {})
    yield "many members", zipped([(str(i), b"") for i in range(100_000)], data[-len(SEAL) - 64 :])
    yield "deep nesting of objects", edited(lambda m: m.update(loss=nested))
    rate = {"$object": "Constant", "config": {"rate": 0.1}, "attributes": {}}
    for _ in range(20):
        rate = {"$object": "WarmUp", "config": {"schedule": rate, "steps": 1}, "attributes": {}}
    yield "schedules in schedules", edited(lambda m: m["optimizer"]["config"].update(learning_rate=rate))
    yield "lists as units", edited(lambda m: m["layers"][0]["config"].update(units=[[]] * 95_000))
    yield "dicts as units", edited(lambda m: m["layers"][0]["config"].update(units=[{"": 0}] * 60_000))
    yield "axes", edited(lambda m: m.update(input_shape=[9] * 190_000, layers=[relu]))
    yield "many layers", edited(lambda m: m["layers"].extend([relu] * 9_000))
    yield "many bad layers", edited(lambda m: m["layers"].extend([nothing] * 2_000))
    yield "units of 10**12", edited(lambda m: m["layers"].insert(0, wide))
    yield "input of 10**12", edited(lambda m: m.update(input_shape=[10**12]))
    yield (
        "input of 10**12 for a normalization",
        edited(lambda m: m.update(input_shape=[10**12], layers=[m["layers"][1]])),
    )
    yield "a long list", edited(lambda m: m["history"].update(epoch={"$floats": "h"}), [("h", entry), ("h", zeros)])
    yield "much entropy", edited(lambda m: m["streams"]["initial"].update({"$seed": [[1] * 100_000, [0], 4, 0]}))
    yield "long names", edited(lambda m: m["layers"][0]["config"].update(activation="abcdefgh" * 80_000))
    yield "long keywords", edited(lambda m: m["layers"][0]["config"].update({"x" * 600_000: 1}))
    yield "digits", edited(lambda m: m["layers"][0]["config"].update(units=10**4000))
    big = npy("<f4", (10_000_000,), bytes(40_000_000))
    overlapping = bytearray(zipped([("a.npy", big), *[(f"b{i}.npy", b"") for i in range(50)]], data[-len(SEAL) - 64 :]))
    place = overlapping.rindex(b"PK\5\6")
    for _ in range(50):  # every empty member becomes the large one
        place = overlapping.rindex(b"PK\1\2", 0, place)
        overlapping[place + 16 : place + 28] = overlapping[overlapping.index(b"PK\1\2") + 16 :][:12]
        overlapping[place + 42 : place + 46] = b"\0\0\0\0"
    yield "members one over the other", bytes(overlapping)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="so many attacks of each kind only")
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--untimed", action="store_true", help="for machines that have other things to do")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        bench = Bench(folder, float("inf") if arguments.untimed else SLOWEST)
        for name in FILES:
            data = (GOLDEN / name).read_bytes()
            for kind, attacks, number in (("truncation", truncations, len(data)), ("flip", flips, 8 * len(data))):
                chosen = (
                    set(rng.choice(number, min(number, arguments.sample), replace=False)) if arguments.sample else None
                )
                for i, attacked in enumerate(attacks(data)):
                    if chosen is None or i in chosen:
                        bench.attack(kind, attacked)
        mutator = Mutator(rng)
        for i in range(arguments.sample or arguments.mutations):
            bench.attack(*mutator.draw(i))
        for kind, attacked in bombs():
            bench.attack(kind, attacked)
            bench.attack(kind, attacked, measured=True)
    for (kind, outcome), number in sorted(bench.outcomes.items()):
        print(f"{kind:40} {outcome:18} {number:>8,}")
    print(f"{sum(bench.outcomes.values()):,} attacks, {len(bench.failures)} failures")
    for kind, failure in bench.failures[:50]:
        print(f"FAILED {kind}: {failure}")
    sys.exit(bool(bench.failures))


if __name__ == "__main__":
    main()
