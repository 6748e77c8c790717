"""The callbacks of a run as one, and what of them a checkpoint has."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from minidense.callbacks.base import Callback
from minidense.files.codec import Encoder, fingerprint, is_data
from minidense.files.objects import check_attributes, is_plain, put_back


class Hooks:
    """Several callbacks as one: each hook calls those that override it, in the order given."""

    NAMES = (
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_batch_end",
        "on_block_end",
        "on_epoch_end",
        "on_train_end",
    )

    def __init__(self, callbacks: Sequence[Callback], progress: Callback | None) -> None:
        if not isinstance(callbacks, list | tuple):
            raise TypeError(f"callbacks: expected a list, got {callbacks!r}.")
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks: expected md.callbacks.Callback objects, got {callback!r}.")
        self.given = list(callbacks)
        self._all = [*callbacks, progress] if progress else self.given
        self._hooks = {name: [getattr(c, name) for c in self._all if _overrides(c, name)] for name in self.NAMES}
        self._savers = [callback for callback in self.given if _overrides(callback, "on_save_point")]

    def attach(self, model: Any, params: Mapping[str, Any]) -> None:
        """Tell the callbacks whose run it is."""
        for callback in self._all:
            callback.model, callback.params = model, params

    @property
    def per_batch(self) -> bool:
        """Whether any callback wants to be called for each batch."""
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
    def save(self) -> bool:
        """Whether any callback may save the run."""
        return bool(self._savers)

    def save_point(self, run: Any, of_step: bool) -> None:
        """Let each decide whether to save the run, and then those save it who want to, as all have decided."""
        wanted = [callback.on_save_point(run) for callback in self._savers if callback.each_step or not of_step]
        for save in wanted:
            if save is not None:
                save()

    def attributes(self) -> list[Any]:
        """All that callbacks have."""
        return [value for callback in self.given for value in callback.attributes().values()]

    def state(self) -> list[dict[str, Any]]:
        """What each callback has besides its constructor's arguments."""
        return [
            {
                "identity": list(callback.identity),
                "arguments": _checksum(callback.get_config()),
                "steers": callback.steers,
                "config": _plain_arguments(callback) if callback.steers else {},
                "attributes": self._attributes(callback),
            }
            for callback in self.given
        ]

    def check(self, states: Any) -> list[str]:
        """Why they cannot go on from what other callbacks have left."""
        found = []
        try:
            for state, callback in self._matched(states):
                if callback is None:
                    if state["steers"]:
                        found.append(f"the callback {state['identity'][0]} is missing here; pass one again")
                    continue
                check_attributes(callback, state["attributes"], strict=False)
                here = _plain_arguments(callback)
                found += [
                    f"the {name} of {state['identity'][0]} is {value!r} in the file, and {here.get(name)!r} here"
                    for name, value in state["config"].items()
                    if not Encoder({}).alike(here.get(name), value)
                ]
        except ValueError as error:
            found.append(str(error))
        except (AttributeError, KeyError, TypeError):
            found.append("what it says about callbacks is incomplete")
        return found

    def go_on_from(self, states: list[dict[str, Any]], run: Any) -> None:
        """Let each be what one of its class, in the same order, has been; and save what one was about to save."""
        for state, callback in self._matched(states):
            if callback is not None:
                attributes = state["attributes"]
                for name in self._attributes(callback).keys() - attributes.keys():
                    _forget(callback, name)
                put_back(callback, attributes, strict=False)
        for callback in self._savers:
            callback.make_up(run)

    def _matched(self, states: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Callback | None]]:
        """Each state with the callback whose it is: of the same identity, and of the same arguments if there is one."""
        left = list(self.given)
        found: dict[int, Callback] = {}
        for same_arguments in (True, False):
            for i, state in enumerate(states):
                for callback in left if i not in found else ():
                    alike = list(callback.identity) == state["identity"]
                    if alike and (not same_arguments or _checksum(callback.get_config()) == state["arguments"]):
                        found[i] = callback
                        left.remove(callback)
                        break
        return [(state, found.get(i)) for i, state in enumerate(states)]

    def _attributes(self, callback: Callback) -> dict[str, Any]:
        """The attributes that are not what the constructor left, and that are no other objects of the run."""
        made, model = callback._made, callback.model
        others = [*self.given, model, *(() if model is None else (*model.layers, model.optimizer, model.loss))]
        known = {id(other) for other in others if other is not None}
        changed = {
            name: value
            for name, value in callback.attributes().items()
            if (name not in made or not made[name].is_still(value)) and not _refers(value, known)
        }
        check_attributes(callback, changed, strict=False)
        return changed


def _refers(value: Any, known: set[int]) -> bool:
    """Whether it is one of those objects, or a collection with one of them."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return id(value) in known or any(id(item) in known for item in inside)


def _checksum(arguments: dict[str, Any]) -> int:
    """Tells the arguments of two callbacks of one class apart, as far as they are data."""
    return zlib.crc32(repr([fingerprint(value) for value in arguments.values() if is_data(value)]).encode())


def _plain_arguments(callback: Callback) -> dict[str, Any]:
    return {name: value for name, value in callback.get_config().items() if is_plain(value)}


def _forget(callback: Callback, name: str) -> None:
    """Undo what an earlier run of the same callback has left, which the file does not have."""
    made = callback._made.get(name)
    if made is not None:
        callback.__dict__[name] = made.again()
    elif hasattr(type(callback), name):
        del callback.__dict__[name]


def _overrides(callback: Callback, hook: str) -> bool:
    return hook in callback.__dict__ or getattr(type(callback), hook) is not getattr(Callback, hook)
