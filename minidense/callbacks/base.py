"""``Callback``: an object whose hooks are called during training; ``CallbackList``: several of them as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import shown
from minidense.core.configurable import Configurable, check_state_dict, load_state_dict, state_dict

Logs = dict[str, float]


class Callback(Configurable):
    """Base of all callbacks: override the hooks you need.

    ``self.model`` is the model. ``self.params`` is a dict with ``epochs``, ``steps`` (per epoch), ``batch_size``,
    ``resumed`` (True or False), and ``initial_epoch`` and ``initial_step``, where a resumed run begins, otherwise 0.
    ``logs`` is a dict of the loss and the metrics so far; at an epoch's end it also has those of the validation data,
    as ``val_...``. ``self.model.stop_training = True`` ends the training after the current step. Name in ``saved`` the
    attributes that a resumed run needs; a checkpoint keeps no others.

    >>> class Counter(Callback):
    ...     saved = ("steps",)
    ...     steps: int = 0
    ...     def on_batch_end(self, batch, logs):
    ...         self.steps += 1
    """

    each_step: bool = False
    """Whether ``on_save_point`` is called after each step too."""

    steers: ClassVar[bool] = False
    """Whether it influences training: such a run can be resumed only with a callback of the same arguments."""

    model: Any = None
    params: Mapping[str, Any] = MappingProxyType({})

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch; in a resumed run, before the attributes named in ``saved`` are set."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch, counted from 0."""

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch, counted from 0 in each epoch."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """After the update of a batch."""

    def on_block_end(self, steps: int, logs: Logs) -> None:
        """After ``steps`` batches that were read together: cheaper than a call after each."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation."""

    def on_save_point(self, run: Any) -> Callable[[], None] | None:
        """After an epoch or step, when all other hooks have been called: return a function that saves the run, or None.

        It is called when all callbacks have decided whether to save; ``run.save(path)`` writes a checkpoint.
        """
        return None

    def finish_save(self, run: Any) -> None:
        """When a run is resumed: make the save that, according to the checkpoint, was due when the run ended."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also where training ended early."""

    def _set_argument(self, name: str, value: Any) -> None:
        if self._of_library:
            super()._set_argument(name, value)
        else:  # the user's constructor may open files: do not call it again
            self.__dict__["_config"] = {**self._config, name: value}
            object.__setattr__(self, name, value)


class LambdaCallback(Callback, library=True):
    """A callback made of functions, one for each hook used.

    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).on_epoch_end(0, {"loss": 1.0})
    0 {'loss': 1.0}
    """

    def __init__(
        self,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_batch_begin: Callable[[int, Logs], Any] | None = None,
        on_batch_end: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
    ) -> None:
        hooks = {
            "on_train_begin": on_train_begin,
            "on_epoch_begin": on_epoch_begin,
            "on_batch_begin": on_batch_begin,
            "on_batch_end": on_batch_end,
            "on_epoch_end": on_epoch_end,
            "on_train_end": on_train_end,
        }
        for hook, function in hooks.items():
            if function is not None:
                setattr(self, hook, function)


class CallbackList:
    """Several callbacks as one: each hook calls those that override it, in the order given.

    A checkpoint keeps, for each: its class, ``steers``, its plain arguments if it steers, and its state dict.
    """

    HOOKS = (
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_batch_end",
        "on_block_end",
        "on_epoch_end",
        "on_train_end",
    )

    def __init__(self, callbacks: Sequence[Callback], progress: Callback | None = None) -> None:
        if not isinstance(callbacks, list | tuple):
            raise TypeError(f"callbacks: expected a list, got {callbacks!r}.")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected md.callbacks.Callback objects, got {callback!r}.")
        self.given = list(callbacks)
        self._all = [*callbacks, progress] if progress else self.given
        self._hooks = {name: [getattr(c, name) for c in self._all if _overrides(c, name)] for name in self.HOOKS}
        self._savers = [callback for callback in self.given if _overrides(callback, "on_save_point")]

    def attach(self, model: Any, params: Mapping[str, Any]) -> None:
        """Set ``model`` and ``params`` of the callbacks."""
        for callback in self._all:
            callback.model, callback.params = model, params

    @property
    def per_batch(self) -> bool:
        """Whether any callback must be called for each batch."""
        each_step = any(callback.each_step for callback in self._savers)
        return bool(self._hooks["on_batch_begin"] or self._hooks["on_batch_end"] or each_step)

    def wants(self, name: str) -> bool:
        """Whether any callback overrides that hook."""
        return bool(self._hooks[name])

    def call(self, name: str, *args: Any) -> None:
        """Call that hook of each callback that overrides it."""
        for hook in self._hooks[name]:
            hook(*args)

    # ------------------------------------------------------------------ saving and resuming

    @property
    def saves(self) -> bool:
        """Whether any callback may save the run."""
        return bool(self._savers)

    def save_point(self, run: Any, of_step: bool) -> None:
        """Let each callback decide whether to save the run; when all have decided, make the saves."""
        wanted = [callback.on_save_point(run) for callback in self._savers if callback.each_step or not of_step]
        for save in wanted:
            if save is not None:
                save()

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint keeps of the callbacks. Raises ValueError if one lacks an attribute named in ``saved``."""
        return [
            {
                "class": type(callback).__name__,
                "steers": callback.steers,
                "config": _plain_arguments(callback) if callback.steers else {},
                "saved": state_dict(callback),
            }
            for callback in self.given
        ]

    def check(self, states: Any) -> list[str]:
        """The reasons why these callbacks cannot resume from ``states``; none if they can. Changes nothing."""
        if not isinstance(states, list) or not all(_is_state(state) for state in states):
            return ["its record of the callbacks is incomplete"]
        found = []
        for state, callback in self._matched(states):
            if callback is not None:
                found += _differences(state, callback)
            elif state["steers"]:
                found.append(f"the callback {shown(state['class'])} is missing here; pass one again")
        for name in dict.fromkeys(type(callback).__name__ for callback in self.given):
            saved = [state["saved"] for state in states if state["class"] == name]
            here = sum(type(callback).__name__ == name for callback in self.given)
            if 0 < here < len(saved) and any(saved):
                found.append(f"it has {len(saved)} callbacks {name}, matched by their order, but {here} passed here")
        return found

    def resume(self, states: list[dict[str, Any]], run: Any) -> None:
        """Load each callback's state dict, and make the saves that were due. ``check`` must have found nothing.

        A callback that is not in the file stays as its ``on_train_begin`` left it.
        """
        for state, callback in self._matched(states):
            if callback is not None:
                load_state_dict(callback, state["saved"])
        for callback in self._savers:
            callback.finish_save(run)

    def _matched(self, states: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Callback | None]]:
        """Each state with its callback, or None: those of the same class are matched by their order."""
        left = list(self.given)
        for state in states:
            found = next((callback for callback in left if type(callback).__name__ == state["class"]), None)
            if found is not None:
                left = [callback for callback in left if callback is not found]
            yield state, found


def _overrides(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook)
    return method is not None and getattr(method, "__func__", method) is not getattr(Callback, hook)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | np.generic | None)


def _plain_arguments(callback: Callback) -> dict[str, Any]:
    return {name: value for name, value in callback.get_config().items() if _is_plain(value)}


def _is_state(state: Any) -> bool:
    """Whether it looks like an item of ``CallbackList.state``."""
    kinds = {"class": str, "steers": bool, "config": dict, "saved": dict}
    if not isinstance(state, dict) or state.keys() != kinds.keys():
        return False
    whole = all(isinstance(state[name], kind) for name, kind in kinds.items())
    return whole and all(isinstance(name, str) and _is_plain(value) for name, value in state["config"].items())


def _alike(one: Any, other: Any) -> bool:
    """Whether two plain values are equal, or both NaN."""
    return bool(one == other or (one != one and other != other))


def _differences(state: dict[str, Any], callback: Callback) -> list[str]:
    """The reasons why ``callback`` cannot resume from ``state``, which a callback of the same class saved."""
    found, here = [], callback.get_config()
    for name, value in state["config"].items():
        if not (name in here and _is_plain(here[name]) and _alike(here[name], value)):
            what = f"the {name[:80]} of {type(callback).__name__}"
            found.append(f"{what} is {shown(value)} in the file, and {shown(here.get(name))} here")
    try:
        check_state_dict(callback, state["saved"])
    except ValueError as error:
        found.append(str(error).rstrip("."))
    return found
