"""``Callback``: an object whose hooks are called during training; ``CallbackList``: several of them as one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from minidense.core.arguments import function_of, nearest, shown
from minidense.core.configurable import Configurable, check_state_dict, load_state_dict, state_dict

Logs = dict[str, float]


class Callback(Configurable):
    """Base of all callbacks: override the hooks you need. They have Keras' names; a last parameter may be left out.

    ``self.model`` is the model. ``self.params`` is a dict; in ``fit`` it has ``epochs``, ``steps`` (per epoch),
    ``batch_size``, ``resumed`` (True or False), and ``initial_epoch`` and ``initial_step``, where a resumed run begins,
    otherwise 0; in ``evaluate`` and ``predict``, ``steps`` and ``batch_size``.
    ``logs`` is a dict of the loss and the metrics so far; at an epoch's end it also has those of the validation data,
    as ``val_...``. What ``on_epoch_begin`` and ``on_epoch_end`` add to it becomes part of the History.
    ``self.model.stop_training = True`` ends the training after the current step. Name in ``saved`` the attributes that
    a resumed run needs; a checkpoint keeps no others. A public method ``on_...`` that is no hook is a TypeError.

    >>> class Counter(Callback):
    ...     saved = ("steps",)
    ...     steps: int = 0
    ...     def on_train_batch_end(self, batch, logs=None):
    ...         self.steps += 1
    """

    each_step: bool = False
    """Whether ``on_save_point`` is called after each step too."""

    steers: ClassVar[bool] = False
    """Whether it influences training: such a run can be resumed only with a callback of the same arguments."""

    adds_metrics: ClassVar[bool] = False
    """Of the library's callbacks: whether it adds to the logs of an epoch. One's own may do so in any case."""

    sets_learning_rate: ClassVar[bool] = False
    """Whether it sets the learning rate, which is then in the logs of each epoch, as in Keras."""

    verbose: int = 0
    """Whether to say what it does also where ``fit`` is silent."""

    outcome: str = ""
    """What it has done in this run, for the line that says why training ended."""

    _news: str = ""
    """What it has done just now; said after the line of the epoch."""

    _validated: bool = False
    """Whether the run has validation data, though perhaps not after each epoch."""

    model: Any = None
    params: Mapping[str, Any] = MappingProxyType({})

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in dir(cls):
            if name.startswith("on_") and not hasattr(Callback, name) and callable(getattr(cls, name)):
                hooks = [hook for hook in dir(Callback) if hook.startswith("on_")]
                raise TypeError(
                    f"{cls.__name__}.{name} is no hook, and would never be called.{nearest(name, hooks)} The hooks: "
                    f"{', '.join(hooks)}. Give a method of your own another name, such as _{name}."
                )

    def set_model(self, model: Any) -> None:
        """Called before all hooks, with the model that they are about."""
        self.model = model

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Called before all hooks, with what is known of the call: epochs, steps (of an epoch) and batch_size."""
        self.params = params

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch; in a resumed run, before the attributes named in ``saved`` are set."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch, counted from 0."""

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch, counted from 0 in each epoch."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """After the update of a batch."""
        self.on_batch_end(batch, logs)

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Another name of ``on_train_batch_begin``."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Another name of ``on_train_batch_end``."""

    def on_block_end(self, steps: int, logs: Logs) -> None:
        """After ``steps`` batches, at least one, that were read together: cheaper than a call after each."""

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
        """After the last epoch, with its logs; also where training ended early, or by an error."""

    def on_test_begin(self, logs: Logs) -> None:
        """Before an evaluation: by ``evaluate``, or of the validation data within ``fit``."""

    def on_test_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before the results of a batch of the evaluation are added; its scores may have been computed already."""

    def on_test_batch_end(self, batch: int, logs: Logs) -> None:
        """After a batch of the evaluation, with the loss and the metrics so far."""

    def on_test_end(self, logs: Logs) -> None:
        """After an evaluation, with its loss and metrics; also after an error."""

    def on_predict_begin(self, logs: Logs) -> None:
        """Before ``predict`` computes."""

    def on_predict_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before a batch of ``predict``; its outputs may have been computed already."""

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any]) -> None:
        """After a batch of ``predict``, whose outputs are ``logs["outputs"]``, a read-only array."""

    def on_predict_end(self, logs: Logs) -> None:
        """After ``predict``; also after an error."""

    def check_metrics(self, metrics: Mapping[str, Any], more: bool) -> None:
        """Before anything has changed: raise ValueError if it needs a metric that the logs will not have.

        metrics: the names that the logs of an epoch have for certain, with the Metric, or None for the loss.
        more: whether a callback may add others.
        """

    def _set_argument(self, name: str, value: Any) -> None:
        if self._of_library:
            super()._set_argument(name, value)
        else:  # the user's constructor may open files: do not call it again
            self.__dict__["_config"] = {**self._config, name: value}
            object.__setattr__(self, name, value)


_OTHER_NAMES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}

HOOKS = tuple(
    name
    for name in vars(Callback)
    if name.startswith("on_") and name != "on_save_point" and name not in _OTHER_NAMES.values()
)
"""All hooks but ``on_save_point``, which is called otherwise."""


class LambdaCallback(Callback, library=True):
    """A callback made of functions, one for each hook used.

    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).on_epoch_end(0, {"loss": 1.0})
    0 {'loss': 1.0}
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        on_batch_begin: Callable[..., Any] | None = None,
        on_batch_end: Callable[..., Any] | None = None,
        on_block_end: Callable[..., Any] | None = None,
        on_test_begin: Callable[..., Any] | None = None,
        on_test_end: Callable[..., Any] | None = None,
        on_test_batch_begin: Callable[..., Any] | None = None,
        on_test_batch_end: Callable[..., Any] | None = None,
        on_predict_begin: Callable[..., Any] | None = None,
        on_predict_end: Callable[..., Any] | None = None,
        on_predict_batch_begin: Callable[..., Any] | None = None,
        on_predict_batch_end: Callable[..., Any] | None = None,
    ) -> None:
        for hook, function in list(locals().items()):
            if hook != "self" and function is not None:
                setattr(self, hook, function_of(f"LambdaCallback: {hook}", function))


class CallbackList:
    """Several callbacks as one: each hook calls those that override it, in the order given.

    A checkpoint keeps, for each: its class, ``steers``, its plain arguments if it steers, and its state dict.
    """

    def __init__(self, callbacks: Sequence[Callback] | Callback | None, progress: Callback | None = None) -> None:
        if isinstance(callbacks, Callback | None):
            callbacks = [] if callbacks is None else [callbacks]
        if not isinstance(callbacks, list | tuple):
            raise TypeError(f"callbacks: expected a list, got {shown(callbacks)}.")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected md.callbacks.Callback objects, got {callback!r}.")
        self.given = list(callbacks)
        self.progress: Any = progress
        self._all = [*callbacks, progress] if progress else self.given
        self._of_each = [_hooks_of(callback) for callback in self._all]
        self._hooks = {name: [hooks[name] for hooks in self._of_each if name in hooks] for name in HOOKS}
        self._savers = [callback for callback in self.given if _overrides(callback, "on_save_point")]

    def attach(self, model: Any, params: Mapping[str, Any], validated: bool = False) -> None:
        """Set ``model`` and ``params`` of the callbacks. validated: whether there are validation data."""
        for callback in self._all:
            callback._validated = validated
            callback.set_model(model)
            callback.set_params(params)

    def check_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Raise ValueError if a callback needs a metric that is not among these, and that no callback may add."""
        if self.sets_learning_rate:
            metrics = {**metrics, "learning_rate": None}
        more = any(_may_add_metrics(callback) for callback in self.given)
        for callback in self.given:
            callback.check_metrics(metrics, more)

    @property
    def per_batch(self) -> bool:
        """Whether any callback must be called for each batch."""
        each_step = any(callback.each_step for callback in self._savers)
        return each_step or self.wants("on_train_batch_begin", "on_train_batch_end")

    def wants(self, *names: str) -> bool:
        """Whether any callback overrides one of those hooks."""
        return any(self._hooks[name] for name in names)

    def call(self, name: str, *args: Any) -> None:
        """Call that hook of each callback that overrides it."""
        for hook in self._hooks[name]:
            hook(*args)

    @contextmanager
    def spanning(self, what: str, logs: Callable[[], Logs] = dict) -> Iterator[None]:
        """Call ``on_<what>_begin``, and after the block ``on_<what>_end`` of those that have begun, whatever fails.

        logs: what they get at the end.
        """
        begun: list[Callable[..., Any]] = []
        try:
            for hooks in self._of_each:
                hooks.get(f"on_{what}_begin", _nothing)({})
                begun.append(hooks.get(f"on_{what}_end", _nothing))
            yield
        finally:
            with ExitStack() as ends:  # which calls all of them even if some fail, the last one entered first
                for end in reversed(begun):
                    ends.callback(end, logs())

    def tell(self, text: str, of: Sequence[Callback] | None = None) -> None:
        """Say something on the progress display or, without one, if a callback that it is of is verbose.

        of: those callbacks; by default, all that have an outcome.
        """
        of = [callback for callback in self.given if callback.outcome] if of is None else of
        if text and self.progress is not None:
            self.progress.tell(text)
        elif text and any(callback.verbose for callback in of):
            print(text, flush=True)

    def tell_news(self) -> None:
        """Say what callbacks have done just now."""
        for callback in self.given:
            if callback._news:
                self.tell(callback._news, of=[callback])
                callback.__dict__["_news"] = ""

    @property
    def sets_learning_rate(self) -> bool:
        """Whether any callback sets the learning rate."""
        return any(callback.sets_learning_rate for callback in self.given)

    @property
    def outcomes(self) -> list[str]:
        """What the callbacks have done in this run."""
        return [callback.outcome for callback in self.given if callback.outcome]

    # ------------------------------------------------------------------ saving and resuming

    @property
    def saves(self) -> bool:
        """Whether any callback may save the run, not only the weights."""
        return any(not getattr(callback, "save_weights_only", False) for callback in self._savers)

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


def _nothing(logs: Logs) -> None:
    """The hook of a callback that does not override it."""


def _overrides(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook)
    return method is not None and getattr(method, "__func__", method) is not getattr(Callback, hook)


def _hooks_of(callback: Callback) -> dict[str, Callable[..., Any]]:
    """The hooks that it overrides, by their name or the other one."""
    found = {}
    for name in HOOKS:
        names = [each for each in (name, _OTHER_NAMES.get(name, name)) if _overrides(callback, each)]
        if names:
            found[name] = _fitted(callback, names[0])
    return found


def _fitted(callback: Callback, hook: str) -> Callable[..., Any]:
    """The method, called without the last arguments if it does not take them. TypeError if it needs more."""
    method: Callable[..., Any] = getattr(callback, hook)
    names = list(inspect.signature(getattr(Callback, hook)).parameters)[1:]
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # a function that is not written in Python, such as print
        return method
    for taken in range(len(names), -1, -1):
        with suppress(TypeError):
            signature.bind(*names[:taken])
            return method if taken == len(names) else functools.partial(_with_the_first, taken, method)
    raise TypeError(f"{type(callback).__name__}.{hook}: expected the parameters ({', '.join(names)}), got {signature}.")


def _with_the_first(taken: int, method: Callable[..., Any], *args: Any) -> Any:
    return method(*args[:taken])


def _may_add_metrics(callback: Callback) -> bool:
    """Whether its ``on_epoch_begin`` or ``on_epoch_end`` may add to the logs: one that is not the library's may."""
    if callback.adds_metrics:
        return True
    for hook in ("on_epoch_begin", "on_epoch_end"):
        owner = next((kind for kind in type(callback).__mro__ if hook in vars(kind)), Callback)
        if hook in vars(callback) or not (owner is Callback or getattr(owner, "_of_library", False)):
            return True
    return False


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | np.generic | None)


def _plain_arguments(callback: Callback) -> dict[str, Any]:
    return {name: value for name, value in callback.get_config().items() if name != "verbose" and _is_plain(value)}


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
