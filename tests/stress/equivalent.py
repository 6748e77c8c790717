"""Mutants that no test can notice, and why: by file, the line as it is, and the line of the mutant."""

EXPLAINED = {
    (
        "files/checkpoint.py",
        "said = other[:300] if isinstance(other, str) else shown(other)",
        "said = other[:301] if isinstance(other, str) else shown(other)",
    ): "A bound on the length of a message.",
    (
        "files/model_file.py",
        'more = [f"and {len(misfits) - _MOST_NAMES} more"] * (len(misfits) > _MOST_NAMES)',
        'more = [f"and {len(misfits) - _MOST_NAMES} more"] * ((len(misfits) >= _MOST_NAMES))',
    ): 'A message says "and 0 more" where there are exactly as many as it names.',
    (
        "files/codec.py",
        "if not whole or max(len(words), len(spawn_key)) > _LARGEST_SEED or not 4 <= pool_size <= 64:",
        "if not whole or (max(len(words), len(spawn_key)) >= _LARGEST_SEED) or not 4 <= pool_size <= 64:",
    ): "A bound on memory, far above the length of any seed that a model has.",
    (
        "callbacks/reporting.py",
        "ncols=100,",
        "ncols=101,",
    ): "The width of the bar where there is no terminal: nothing but its look depends on it.",
    (
        "core/arguments.py",
        "close = difflib.get_close_matches(str(name)[:80].lower(), list(known), n=1)",
        "close = difflib.get_close_matches(str(name)[:81].lower(), list(known), n=1)",
    ): "A bound on the time it takes: no name is nearly as long.",
    (
        "core/rng.py",
        'key = [part if isinstance(part, int) else 2**32 + int.from_bytes(part.encode(), "big") for part in path]',
        'key = [part if isinstance(part, int) else (-2)**32 + int.from_bytes(part.encode(), "big") for part in path]',
    ): "The same number.",
    (
        "data/arrays.py",
        'if x.dtype.kind == "f" and isinstance(x, np.ndarray) and x.nbytes <= CHECK_BYTES:',
        "if x.dtype.kind == 'f_' and isinstance(x, np.ndarray) and x.nbytes <= CHECK_BYTES:",
    ): "A short cut: the blocks below it are then one block, which is checked alike.",
    (
        "layers/base.py",
        "return False",
        "return True",
    ): "Is not reached: Layer itself has both attributes that are asked for.",
    (
        "metrics.py",
        "self._weight, self._mean, self._spread, self._error = 0.0, np.zeros(1), np.zeros(1), np.zeros(1)",
        "self._weight, self._mean, self._spread, self._error = 0.0, np.ones(1), np.zeros(1), np.zeros(1)",
    ): "The mean of nothing: it counts with weight 0, so that any number would do.",
    (
        "model.py",
        "if size == len(x) and isinstance(x, np.ndarray):",
        "if size == len(x) and (not isinstance(x, np.ndarray)):",
    ): "A short cut: the loop below computes the one chunk alike.",
    (
        "metrics.py",
        "predicted = y_pred.argmax(axis=1)[:, None] == np.arange(k)",
        "predicted = y_pred.argmax(axis=(-1))[:, None] == np.arange(k)",
    ): "The same axis: there are two.",
    (
        "network.py",
        'return state | none | {"_buffers": np.empty(0), "_kept": np.empty(0), "_shared": [], "_was_built": self.built}',
        'return state | none | {"_buffers": np.empty(0), "_kept": np.empty(1), "_shared": [], "_was_built": self.built}',
    ): "Allocated anew before anything reads it.",
    (
        "network.py",
        "large = pieces > 1 and 2 * rows * self.theta.size >= WORTH_HELPERS",
        "large = pieces > (-1) and 2 * rows * self.theta.size >= WORTH_HELPERS",
    ): "One piece has 1 - 1 helpers anyway.",
    (
        "numerics/functional.py",
        "@functools.cache",
        "@(lambda undecorated: undecorated)",
    ): "The same series, only fitted anew at each call: nothing but time depends on it.",
}
