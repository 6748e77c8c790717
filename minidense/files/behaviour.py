"""The check by behaviour: what is made anew from a file's words gives, to the bit, what the original gives.

A file has of a layer its arguments, parameters, buffers and ``trainable``. Whether that is all that the layer's output
depends on cannot be seen from its attributes. So the whole model is made anew in memory, as it would be from the file,
and each layer that is not the library's own is run beside the new one; and so is an optimizer of the user's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from minidense.core.errors import Problems
from minidense.core.types import Array
from minidense.files.codec import described
from minidense.layers.base import Layer, walk
from minidense.layers.guard import forward_of
from minidense.optimizers import Optimizer

_WHAT_LASTS = "What lasts belongs into an argument of the constructor, a parameter or a buffer (self.buffer in build)."
_ROUNDS = 2  # as it is now, and once a training step may have left something


def words_of(model: Any) -> dict[str, str]:
    """A model in words, but for what training changes: which arguments each part was made of, and what is frozen."""
    network = model.network
    words = {
        "the dtype": repr(network._record.dtype.name),
        "the input's shape": repr(network._record.input_shape),
        "the number of layers": str(len(network.children)),
        "the number of metrics": str(len(model.metrics)),
        "the number of weighted metrics": str(len(model.weighted_metrics)),
        "the optimizer": described(model.optimizer),
        "the loss": described(model.loss),
    }
    met: dict[int, str] = {}
    words |= {f"layer {i}": described(layer, True, met) for i, layer in enumerate(network.children)}
    for kind, metrics in (("metric", model.metrics), ("weighted metric", model.weighted_metrics)):
        for i, metric in enumerate(metrics):
            words |= {f"{kind} {i}": described(metric), f"the name of {kind} {i}": repr(metric.name)}
    names = [(network.name_of(layer).removeprefix("layers/"), layer) for layer in walk(network) if layer is not network]
    return words | {f"trainable of layer {name}": str(bool(layer.trainable)) for name, layer in names}


def check_own(model: Any, made_anew: Callable[[Any], Any], problems: Problems) -> None:
    """Note what of the user's own could not be made anew as it is; ``made_anew`` gives the model that a file would.

    Of a model that is not built, only the arguments can be compared. Nothing of it changes.
    """
    twin = copy.deepcopy(model, _shared(model))
    for _ in range(_ROUNDS):
        new = problems.noted(lambda: made_anew(twin))
        if new is None:
            return
        ours, theirs = words_of(twin), words_of(new)
        for name in ours.keys() & theirs.keys() - {"the input's shape"}:  # a new model may have none yet
            if ours[name] != theirs[name]:
                problems.found.append(
                    f"{name}: {ours[name]} cannot be saved: made anew, it has other arguments, {theirs[name]}."
                )
        if twin.network.built and not problems.found:
            problems.found += _differences(twin, new)
        if not twin.network.built or problems.found:
            return


def _shared(model: Any) -> dict[int, Any]:
    """What a copy of the model has in common with it, by id: attributes of layers that cannot be copied, as locks."""
    shared = {}
    for layer in walk(model.network):
        for name, value in vars(layer).items() if not layer._of_library else ():
            if name not in ("_record", "_config") and not isinstance(value, Layer | np.ndarray):
                try:
                    copy.deepcopy(value)
                except TypeError:
                    shared[id(value)] = value
    return shared


def _differences(twin: Any, new: Any) -> Iterator[str]:
    """Where the two models, which are of the same arguments, do not behave alike. Changes both."""
    rng = np.random.default_rng(0)
    for layer, other in zip(_topmost_own(twin.network), _topmost_own(new.network), strict=True):
        x = rng.standard_normal((3, *(layer._record.input_shape or ()))).astype(twin.dtype)
        for training in (False, True):
            if _outcome(partial(_forward, layer, x, training)) != _outcome(partial(_forward, other, x, training)):
                when = "in training" if training else "at inference"
                yield (
                    f"{twin.network.name_of(layer)}: {layer!r} cannot be saved: made anew from its arguments, "
                    f"parameters and buffers it gives other output {when}. {_WHAT_LASTS}"
                )
                break
    optimizer = twin.optimizer
    if optimizer is not None and not optimizer._of_library:
        for given in ("pieces", "decayed", "factors"):
            setattr(new.optimizer, given, getattr(optimizer, given))
        theta, grad = rng.standard_normal((2, *twin.theta.shape)).astype(twin.dtype)
        if _outcome(partial(_update, optimizer, theta, grad)) != _outcome(partial(_update, new.optimizer, theta, grad)):
            yield (
                f"optimizer: {optimizer!r} cannot be saved: made anew from its arguments, iterations, learning rate "
                f"and state it makes another update. What lasts from one update to the next belongs into self.state, "
                f"if it is a vector as long as theta; otherwise name its attribute in `saved`."
            )


def _topmost_own(layer: Layer) -> Iterator[Layer]:
    for child in layer._record.children.values():
        yield from [child] if not child._of_library else _topmost_own(child)


def _forward(layer: Layer, x: Array, training: bool) -> list[Array]:
    """The output, and all buffers after it."""
    y = forward_of(layer, training)(x.copy())
    return [y, *(part._record.views[d.name] for part in walk(layer) for d in part._record.buffers)]


def _update(optimizer: Optimizer, theta: Array, grad: Array) -> list[Array]:
    optimizer.update(theta := theta.copy(), grad.copy())
    return [theta]


def _outcome(call: Callable[[], list[Array]]) -> Any:
    """All that can be compared of the arrays, or the exception; NumPy's own generator stays as it is."""
    state = np.random.get_state()
    try:
        with np.errstate(all="ignore"):
            return [(a.shape, a.dtype.str, np.where(np.isnan(a), np.nan, a).tobytes()) for a in call()]
    except Exception as error:
        return type(error), str(error)
    finally:
        np.random.set_state(state)
