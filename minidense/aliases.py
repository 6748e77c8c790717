"""What users of Keras expect of a model besides: each in terms of the model's own methods."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from minidense.core.arguments import nearest, shown
from minidense.core.configurable import LIBRARY
from minidense.core.instead import NAMES
from minidense.core.types import Array
from minidense.layers.base import Layer
from minidense.layers.shaping import Input
from minidense.training.results import Results


class KerasMethods:
    """A model as a function, as a sequence of layers, and as a configuration."""

    # ------------------------------------------------------------------ a function

    def __call__(self: Any, x: Any, training: bool = False) -> Array:
        """``model(x)`` is ``model.predict(x)``, and ``model(x, training=True)`` is ``model.forward(x, True)``."""
        output: Array = self.forward(x, training) if training else self.predict(x)
        return output

    def predict_on_batch(self: Any, x: Any) -> Array:
        """``predict`` with all rows as one batch."""
        output: Array = self.predict(x, batch_size="full")
        return output

    def test_on_batch(
        self: Any, x: Any, y: Any, sample_weight: Any = None, *, return_dict: bool = False
    ) -> Results | dict[str, float]:
        """``evaluate`` with all rows as one batch."""
        found: Results | dict[str, float] = self.evaluate(
            x, y, batch_size="full", sample_weight=sample_weight, return_dict=return_dict
        )
        return found

    # ------------------------------------------------------------------ a sequence of layers

    def __getattr__(self, name: str) -> Any:
        if hasattr(type(self), name):  # a property that raised an AttributeError: raise that one
            return object.__getattribute__(self, name)
        hint = f": {NAMES['Sequential'][name]}" if name in NAMES["Sequential"] else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    def __len__(self: Any) -> int:
        return len(self.layers)

    def __iter__(self: Any) -> Iterator[Any]:
        return iter(self.layers)

    def __bool__(self) -> bool:
        return True  # also without layers

    def __getitem__(self: Any, index: int | slice | str) -> Any:
        """A layer by its position or name; for a slice, a new model with copies of the layers."""
        if isinstance(index, str):
            return self.get_layer(index)
        if not isinstance(index, slice):
            return self.layers[index]
        first = range(len(self))[index]
        part = type(self)([copy.deepcopy(layer) for layer in self.layers[index]], dtype=self.dtype.name)
        if self.built and first:
            part.build(self.layers[first[0]].input_shape)
        return part

    def get_layer(self: Any, name: str | None = None, index: int | None = None) -> Any:
        """A layer by its name, such as "dense_1", or by its position. Raises ValueError for an unknown one."""
        if (name is None) == (index is None):
            raise ValueError("get_layer: pass a name or an index.")
        if index is not None:
            if not -len(self) <= index < len(self):
                raise ValueError(f"get_layer: expected an index below {len(self)}, got {index}.")
            return self.layers[index]
        found = [layer for layer in self.layers if layer.name == name]
        if len(found) > 1:  # a name that was given to one is another's by default
            raise ValueError(f"get_layer: {len(found)} layers are called {shown(name)}; take one by its position.")
        if not found:
            names = [layer.name for layer in self.layers]
            known = ", ".join(names)
            raise ValueError(f"get_layer: there is no {shown(name)}.{nearest(name, names)} There are: {known}.")
        return found[0]

    @property
    def weights(self: Any) -> list[Array]:
        """All parameters and buffers, layer by layer: the arrays themselves, while ``get_weights`` copies them."""
        return list(self.network.named_arrays().values())

    @property
    def trainable_weights(self: Any) -> list[Array]:
        """The parameters that training changes: the arrays themselves."""
        return list(self.network.trainable_weights)

    @property
    def non_trainable_weights(self: Any) -> list[Array]:
        """The buffers, and the parameters of layers that are not trainable: the arrays themselves."""
        return list(self.network.non_trainable_weights)

    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    @property
    def metrics_names(self: Any) -> list[str]:
        """The names of the loss and the metrics, in the order of ``evaluate``."""
        return ["loss", *(metric.name for metric in (*self.metrics, *self.weighted_metrics))]

    # ------------------------------------------------------------------ a configuration

    def get_config(self: Any) -> dict[str, Any]:
        """The layers' classes and arguments, from which ``from_config`` makes an untrained model."""
        shape = None if self.input_shape is None else list(self.input_shape)
        layers = [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in self.layers]
        return {"name": self.name, "dtype": self.dtype.name, "input_shape": shape, "layers": layers}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """An untrained model of the layers in ``config``. custom_objects: your own classes by name."""
        known = {**LIBRARY, "Sequential": cls, **(custom_objects or {})}
        layers = []
        for item in config["layers"]:
            kind = known.get(item["class_name"])
            if kind is None:
                raise ValueError(
                    f"from_config: there is no class {shown(item['class_name'])}.{nearest(item['class_name'], known)} "
                    f"Pass your own: custom_objects={{'{item['class_name']}': ...}}."
                )
            layers.append(kind.from_config(item["config"]))
        make: Callable[..., Any] = cls
        model = make(layers, dtype=config.get("dtype", "float32"), name=config.get("name"))
        if config.get("input_shape") is not None:
            model.build(tuple(config["input_shape"]))
        made: Self = model
        return made

    def to_json(self: Any, **options: Any) -> str:
        """``get_config`` as JSON, for ``md.models.model_from_json``. options: those of ``json.dumps``.

        Raises TypeError for an argument that JSON has not, such as a function or an array; ``save`` writes these too.
        """
        import json

        try:
            return json.dumps(self.get_config(), **options)
        except TypeError as error:
            raise TypeError(f"to_json: {error}; use model.save, which writes more kinds of arguments.") from None


def split_input(layers: Any) -> tuple[Any, tuple[int, ...] | None]:
    """The items of a model without an ``Input`` at the beginning, and the shape that the first one says, if any."""
    if not isinstance(layers, list | tuple) or not layers:
        return layers, None
    if not isinstance(layers[0], Layer):  # a model that is built knows its shape
        return layers, getattr(layers[0], "input_shape", None) if hasattr(layers[0], "network") else None
    shape = layers[0]._record.said_shape
    return (layers[1:] if isinstance(layers[0], Input) else layers), shape


def without_batch(shape: Any) -> Any:
    """The shape of a sample: without the None that Keras has for the batch axis, if it is there."""
    return shape[1:] if isinstance(shape, list | tuple) and len(shape) > 1 and shape[0] is None else shape
