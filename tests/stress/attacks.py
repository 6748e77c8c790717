"""Attacks on model files: every truncation, every flipped bit, and structured mutations, most with a correct digest.

    python tests/stress/attacks.py                 all of it: some minutes
    python tests/stress/attacks.py --sample 2000   2000 of each kind, as the tests do

A load may give a model that is what the file says, or one CorruptFileError or ValueError. Everything else counts as
a failure: another error, a model or a run that is not what the file says, code that runs, an import, another file
opened, a load of more than two seconds, more memory than twice the file and 50 MB.
"""

import argparse
import copy
import functools
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
from forge import SEAL, members, npy, resealed, sealed, taken_apart, zipped

import minidense as md
from minidense.files import checkpoint, model_file
from minidense.files.archive import read_archive

GOLDEN = Path(__file__).parent.parent / "golden"
FILES = ["model-2.npz", "weights-2.npz", "checkpoint-2.npz"]

SLOWEST = 2.0
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
        self.model = md.load_model(GOLDEN / "model-2.npz")
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
        """A model and, if the file has one, the state of its run."""
        try:
            model = md.load_model(self.path)
        except ValueError as error:
            if "has weights only" not in str(error):
                raise
            model = copy.deepcopy(self.model)
            model.load_weights(self.path)
            return model, None
        try:
            return checkpoint.read_checkpoint(self.path, {}, md.Sequential)
        except ValueError as error:
            if "no training run" in str(error) and not isinstance(error, md.CorruptFileError):
                return model, None
            raise

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
        outcome = "loaded"
        if isinstance(found, md.CorruptFileError | ValueError):
            outcome = "CorruptFileError" if isinstance(found, md.CorruptFileError) else "ValueError"
        elif isinstance(found, Exception):
            outcome = "another error"
            self.failures.append((kind, repr(found)[:300]))
        elif difference := self.unlike(*found, data):
            self.failures.append((kind, difference))
        self.outcomes[kind, outcome] += 1

    def unlike(self, model, state, data):
        """What in the model and its run differs from the file."""
        try:
            manifest, arrays = taken_apart(data)
            arrays = {name: np.load(io.BytesIO(content)) for name, content in arrays.items()}
        except zipfile.BadZipFile:  # a local header or a checksum is wrong, which nobody looks at under a right digest
            _, manifest, arrays = read_archive(self.path)
            arrays = dict(arrays)
        if manifest["model"] is None:
            same = {name: a.astype("float32").tobytes() for name, a in arrays.items()} == {
                name: a.tobytes() for name, a in model.network.named_arrays().items()
            }
            return "" if same else "other weights than the file's"
        said, held = model_file.encoded(model, state)
        found = unlike(spelled(said, held), spelled(manifest, arrays), "manifest")
        arrays = {name: a for name, a in arrays.items() if state is None or not name.startswith("values/training/")}
        same = {name: picture(a) for name, a in held.items()} == {name: picture(a) for name, a in arrays.items()}
        return found or ("" if same else "other arrays than the file's")


def picture(array):
    return array.dtype.newbyteorder("=").str, array.shape, array.tobytes()


def spelled(data, arrays):
    """The manifest with its arrays in the places where it refers to them; they are taken out of ``arrays``."""
    if isinstance(data, list):
        return [spelled(item, arrays) for item in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {"$list"}:
        return arrays.pop(data["$list"]).tolist()
    if data.keys() == {"$array"}:
        return {"$array": picture(arrays.pop(data["$array"]))}
    return {key: spelled(item, arrays) for key, item in data.items()}


def unlike(said, given, where):
    """Where a model's manifest does not say what was given. What was left out may be there by default."""
    if where.endswith(("$generator/seed", "manifest/library")) or (where.endswith("/learning_rate") and given is None):
        return ""  # no seed is as good as one; a rate that is not said by itself is the argument's
    if where.endswith("/frozen"):
        said, given = sorted(said), sorted(given)
    if isinstance(given, list) and isinstance(said, dict) and said.keys() == {"$chain"}:
        said = said["$chain"]  # what takes a chain takes a list
    pairs = []
    if isinstance(given, dict) and isinstance(said, dict) and given.keys() <= said.keys():
        pairs = [(key, said[key], given[key]) for key in given]
    elif isinstance(given, list | tuple) and isinstance(said, list | tuple) and len(given) == len(said):
        pairs = [(i, *both) for i, both in enumerate(zip(said, given, strict=True))]
    elif isinstance(said, bool) != isinstance(given, bool) or (said != given and repr(said) != repr(given)):
        return f"{where} is {said!r} in the model, and {given!r} in the file"[:300]
    return next(filter(None, (unlike(a, b, f"{where}/{key}") for key, a, b in pairs)), "")


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
        return sealed(self.manifest, self.arrays)

    def zipped(self, parts, compression=zipfile.ZIP_STORED):
        """An archive of these members with a correct digest or, sometimes, the old one."""
        data = zipped(parts, self.data[-len(SEAL) - 64 :], compression)
        return resealed(data) if self.rng.random() < 0.9 else data

    # members

    def m_member_dropped(self):
        parts = members(self.data)
        parts.remove(self.one(parts))
        return self.zipped(parts)

    def m_member_doubled(self):
        parts = members(self.data)
        name, content = self.one(parts)
        other = self.one([content, b"", content[::-1], self.one(parts)[1]])
        parts.insert(int(self.rng.integers(len(parts) + 1)), (name, other))
        return self.zipped(parts)

    def m_member_renamed(self):
        parts = members(self.data)
        i = int(self.rng.integers(len(parts)))
        name = parts[i][0]
        strange = ["../" + name, "/" + name, "/tmp/x.npy", "..\\" + name, name.upper(), name + " ", "C:" + name, "",
                   name.replace("/", "//"), "layers/0/\u03b8.npy", "a" * 5000, "con", name + "/", "./" + name]  # fmt: skip
        parts[i] = (self.one(strange), parts[i][1])
        return self.zipped(parts)

    def m_array_renamed(self):
        name = self.one(self.arrays)
        new = self.one(
            ["../" + name, "/" + name, "layers/99/W", "optimizer/x", "layers/0/W", "x", name + "/y", "layers/0/\u03b8"]
        )
        self.arrays[new] = self.arrays.pop(name)
        return self.seal()

    def m_array_added(self):
        name = self.one(["extra", "layers/0/extra", "optimizer/extra", "values/training/x", "values/x", "layers/7/W"])
        self.arrays[name] = npy("<f4", (2,), bytes(8))
        return self.seal()

    def m_members_in_another_order(self):
        parts = members(self.data)
        self.rng.shuffle(parts)
        return self.zipped([tuple(part) for part in parts])

    def m_compressed(self):
        return self.zipped(members(self.data), zipfile.ZIP_DEFLATED)

    def m_nested_archive(self):
        name = self.one(self.arrays)
        self.arrays[name] = self.one([self.data, zipped([("a", b"b")])])
        return self.seal()

    def m_pickle_or_object_array(self):
        name = self.one(self.arrays)
        evil = pickle.dumps(np.array([os.system, "true"], object), 4)
        self.arrays[name] = self.one([evil, npy("|O", (1,), evil), npy("|O", (2,), b"\0" * 16)])
        return self.seal()

    def m_bytes_in_a_row(self):
        data = bytearray(self.data)
        place, length = int(self.rng.integers(len(data))), int(self.rng.integers(1, 200))
        data[place : place + length] = self.one(
            [b"", b"\0" * length, self.rng.bytes(length), data[place : place + 5] * 9]
        )
        return resealed(bytes(data)) if self.rng.random() < 0.9 else bytes(data)

    def m_bits_with_a_right_digest(self):
        data = bytearray(self.data)
        for _ in range(int(self.rng.integers(1, 4))):
            data[int(self.rng.integers(len(data)))] ^= 1 << int(self.rng.integers(8))
        return resealed(bytes(data))

    def m_more_bytes(self):
        more = self.one([b"\0", b"\n", self.rng.bytes(30), self.data, b"PK\5\6" + b"\0" * 18])
        return self.one([self.data + more, more + self.data])

    # arrays

    def drawn(self):
        """An array's name and the array."""
        name = self.one(self.arrays)
        return name, np.load(io.BytesIO(self.arrays[name]))

    def m_shape(self):
        name, array = self.drawn()
        shape = list(array.shape) or [1]
        i = int(self.rng.integers(len(shape)))
        shape[i] = self.one([*NUMBERS, shape[i]])
        other = self.one(
            [
                shape,
                shape[::-1],
                [],
                [*shape, 1],
                [1] * 40,
                [0],
                [2**40] * 3,
                [-1, *shape],
                [2**31, 2**31, 0],
                [array.size],
            ]
        )
        self.arrays[name] = npy(array.dtype.str, other, array.tobytes())
        return self.seal()

    def m_shape_and_contents(self):
        name, array = self.drawn()
        shape = [self.one([1, 2, 3, 5, 2**20, 10**12]) for _ in range(int(self.rng.integers(1, 3)))]
        size = min(int(np.prod([float(n) for n in shape])), 4096)
        self.arrays[name] = npy(array.dtype.str, shape, bytes(array.itemsize * size))
        return self.seal()

    def m_dtype(self):
        name, array = self.drawn()
        dtype = self.one(DTYPES)
        itemsize = {"|O": 8, "O": 8, "<U0": 0}.get(dtype) or np.dtype(dtype).itemsize
        body = (array.tobytes() * 20)[: itemsize * array.size]
        self.arrays[name] = npy(dtype, array.shape, self.one([array.tobytes(), body]))
        return self.seal()

    def m_other_numbers(self):
        name, array = self.drawn()
        if array.dtype.kind == "f":
            values = self.rng.choice([0, -0.0, np.nan, np.inf, 1e-40, 3.0], size=array.shape).astype(array.dtype)
            self.arrays[name] = npy(array.dtype.str, array.shape, values.tobytes(), bool(self.rng.integers(2)))
        return self.seal()

    def m_header(self):
        name = self.one(self.arrays)
        content, text = (
            self.arrays[name],
            self.one([b"__import__('os')", b"(" * 9000, b"-" * 9000 + b"1", b"{" * 300, b"'" * 3, b"\0", b"1e999"]),
        )
        length = int.from_bytes(content[8:10], "little")
        header = self.one([text, content[10 : 10 + length].replace(b"{", b"{" + text + b": 1, ")])
        self.arrays[name] = content[:8] + len(header).to_bytes(2, "little") + header + content[10 + length :]
        return self.seal()

    # the manifest

    def places(self, data=None, found=None):
        """All (container, key) in the manifest."""
        data, found = self.manifest if data is None else data, [] if found is None else found
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        for key, value in pairs:
            if key != "library":
                found.append((data, key))
            if isinstance(value, dict | list):
                self.places(value, found)
        return found

    def junk(self):
        return self.one([None, True, "", "x", "relu", [], {}, [1], {"a": 1}, {"$tuple": [1]}, {"$array": "layers/0/W"},
                         {"$object": "ReLU", "config": {}}, {"$chain": []}, {"$layer": "layers/0"}, {"$function": "zeros"}, {"$float": "nan"},
                         {"$custom_object": "X", "config": {}}, {"$generator": {}}, {"$seed": [0, [], 4, 0]},
                         {"$dict": [[[1], 2]]}, {"$dict": [[{"$tuple": [1]}, 2]]}, {"$number": ["<f4", 1]},
                         {"$list": "layers/0/b"}, {"$network": {"name": None, "layers": []}}, "\ud800", "a" * 300, *NUMBERS])  # fmt: skip

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

    def m_argument(self):
        objects = [c for c, _ in self.places() if isinstance(c, dict) and isinstance(c.get("config"), dict)]
        if objects:
            name = self.one(["__class__", "__dict__", "forward", "_config", "W", "units", "rate", "momentum", "activation", "layers",
                             "kernel_initializer", "learning_rate", "schedule", "steps", "epsilon", "trainable", "reduction"])  # fmt: skip
            self.one(objects)["config"][name] = self.junk()
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
        text = json.dumps(self.manifest)
        place = text.index('"model"')
        inserted = self.one(['"format": 2, ', f'"x": {deep(100_000)}, ', f'"x": {deep(900)}, ', '"x": NaN, ', '"x": Infinity, ', '"x": -Infinity, ',
                             '"x": 1e999, ', '"x": ' + "9" * 5000 + ", ", '"model": null, "model": null, ', "'x': 1, ", "/* */", '"x": 01, '])  # fmt: skip
        changed = text[:place] + inserted + text[place:]
        return sealed(self.one([changed.encode(), changed.encode("utf-16"), b"\xef\xbb\xbf" + text.encode(), b"", b"null", b"[]",
                                deep(100_000).encode(), text.replace('"rate"', '"rate", "rate"').encode(), text.encode()[:-1],
                                text.replace("0.1", "NaN", 1).encode(), text.replace("1", "1e400", 1).encode()]), self.arrays)  # fmt: skip


def bombs():
    """Large things, whose time and memory are measured: (kind, file)."""
    data = (GOLDEN / "model-2.npz").read_bytes()
    manifest, arrays = taken_apart(data)

    def edited(edit, **more):
        changed = copy.deepcopy(manifest)
        edit(changed["model"])
        return sealed(changed, {**arrays, **more})

    relu, rate = {"$object": "ReLU", "config": {}}, {"$object": "Constant", "config": {"rate": 0.1}}
    dense = manifest["model"]["layers"][0]
    wide, nothing = ({**dense, "config": {**dense["config"], "units": units}} for units in (10**12, 0))

    def within(kind, name, inside, depth):
        return functools.reduce(lambda inner, _: {"$object": kind, "config": {name: inner}}, range(depth), inside)

    for _ in range(20):
        rate = {"$object": "WarmUp", "config": {"schedule": rate, "steps": 1}}
    chains = functools.reduce(lambda inner, _: {"$chain": [inner]}, range(48), relu)
    tuples = functools.reduce(lambda inner, _: {"$tuple": [inner]}, range(400), relu)
    zeros = npy("<f8", (3_000_000,), bytes(24_000_000))
    yield (
        "deflated zeros",
        resealed(zipped([("manifest.json", bytes(200_000_000))], SEAL + bytes(64), zipfile.ZIP_DEFLATED)),
    )
    large = {**arrays, "layers/0/W": bytes(200_000_000)}
    yield "deflated member", sealed(manifest, large, compression=zipfile.ZIP_DEFLATED)
    yield "large manifest", sealed(b" " * 60_000_000, arrays)
    yield "many lists", sealed(b"[" + b"[]," * 99_000 + b"0]", {})
    yield "many dicts", sealed(b'{"x":[' + b'{"":0},' * 66_000 + b"0]}", {})
    yield "many members", sealed(manifest, {str(i): b"" for i in range(100_000)})
    yield (
        "deep nesting of objects",
        edited(lambda m: m.update(loss={"object": within("Residual", "layers", relu, 400), "saved": {}})),
    )
    yield "deep nesting of composites", edited(lambda m: m["layers"].append(within("Residual", "layers", relu, 23)))
    yield "deep nesting of chains", edited(lambda m: m["layers"].append(chains))
    yield "deep nesting of tuples", edited(lambda m: m["layers"].append(tuples))
    yield "schedules in schedules", edited(lambda m: m["optimizer"]["object"]["config"].update(learning_rate=rate))
    yield "lists as units", edited(lambda m: m["layers"][0]["config"].update(units=[[]] * 95_000))
    yield "dicts as units", edited(lambda m: m["layers"][0]["config"].update(units=[{"": 0}] * 60_000))
    yield "axes", edited(lambda m: m.update(input_shape=[9] * 190_000, layers=[relu]))
    yield "many layers", edited(lambda m: m["layers"].extend([relu] * 9_000))
    yield "many layers in a chain", edited(lambda m: m["layers"].append({"$chain": [relu] * 9_000}))
    yield "many chains", edited(lambda m: m["layers"].extend([{"$chain": []}] * 20_000))
    yield "many bad layers", edited(lambda m: m["layers"].extend([nothing] * 2_000))
    yield "units of 10**12", edited(lambda m: m["layers"].insert(0, wide))
    yield "input of 10**12", edited(lambda m: m.update(input_shape=[10**12]))
    yield "input of 10**9 for a normalization", edited(lambda m: m.update(input_shape=[10**9], layers=[m["layers"][1]]))
    long = {"$list": "values/h"}
    yield "a long list", edited(lambda m: m["history"].update(epoch=long), **{"values/h": zeros})
    yield (
        "a long list as a schedule",
        edited(lambda m: m["optimizer"].update(learning_rate=long), **{"values/h": zeros}),
    )
    yield "much entropy", edited(lambda m: m["generators"]["initial"].update({"$seed": [[1] * 100_000, [0], 4, 0]}))
    yield "long names", edited(lambda m: m["layers"][0]["config"].update(activation="abcdefgh" * 80_000))
    yield "long keywords", edited(lambda m: m["layers"][0]["config"].update({"x" * 600_000: 1}))
    yield "many keywords", edited(lambda m: m["layers"][0]["config"].update({f"unit{i}": 1 for i in range(60_000)}))
    yield "digits", edited(lambda m: m["layers"][0]["config"].update(units=10**4000))
    big = npy("<f4", (10_000_000,), bytes(40_000_000))
    overlapping = bytearray(zipped([("a.npy", big), *[(f"b{i}.npy", b"") for i in range(50)]], data[-len(SEAL) - 64 :]))
    place = overlapping.rindex(b"PK\5\6")
    for _ in range(50):  # every empty member becomes the large one
        place = overlapping.rindex(b"PK\1\2", 0, place)
        overlapping[place + 16 : place + 28] = overlapping[overlapping.index(b"PK\1\2") + 16 :][:12]
        overlapping[place + 42 : place + 46] = b"\0\0\0\0"
    yield "members one over the other", resealed(bytes(overlapping))


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
    for kind, failure in bench.failures[:50]:
        print(f"FAILED {kind}: {failure}")
    print(f"{sum(bench.outcomes.values()):,} attacks, {len(bench.failures)} failures")
    sys.exit(bool(bench.failures))


if __name__ == "__main__":
    main()
