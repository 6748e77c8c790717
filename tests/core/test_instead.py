"""What Keras has and this library has not: each name and each argument says what to do, and none of them exists."""

import importlib
import inspect
import re

import pytest

import minidense as md
from minidense.core.configurable import LIBRARY, signature_of
from minidense.core.instead import KEYWORDS, NAMES, keyword_hint

MODULES = {where: importlib.import_module(f"minidense.{where}".rstrip(".")) for where in NAMES if where != "Sequential"}
NAMED = [(where, name) for where in NAMES for name in NAMES[where]]


@pytest.mark.parametrize(("where", "name"), NAMED)
def test_each_name_is_missing_and_says_what_to_do(where, name):
    holder = md.Sequential() if where == "Sequential" else MODULES[where]
    assert not hasattr(holder, name)
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': [a-z]") as caught:
        getattr(holder, name)
    assert str(caught.value).endswith(NAMES[where][name])
    assert caught.value.name == name


def test_an_import_says_it_too():
    with pytest.raises(ImportError, match=r"cannot import 'Conv2D' from 'minidense\.layers': there are no"):
        from minidense.layers import Conv2D  # noqa: F401
    with pytest.raises(ImportError, match=r"cannot import 'plot_model' from 'minidense\.utils': use model"):
        from minidense.utils import plot_model  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'Desne'"):
        from minidense.layers import Desne  # noqa: F401


def test_what_a_message_names_exists():
    """Each md.something that is recommended."""
    for text in [*KEYWORDS.values(), *(text for names in NAMES.values() for text in names.values())]:
        for path in re.findall(r"\bmd((?:\.\w+)+)", text):
            found = md
            for part in path.split(".")[1:]:
                found = getattr(found, part)


def test_an_argument_that_says_what_to_do_is_none_of_the_library():
    calls = [*map(signature_of, LIBRARY.values()), *map(inspect.signature, (md.Sequential.fit, md.Sequential.compile))]
    taken = {name for signature in calls for name in signature.parameters}
    assert taken & KEYWORDS.keys() == {"dtype", "activity_regularizer"}  # of a model; of Dense, which refuses it
    assert keyword_hint("units") == ""
    with pytest.raises(
        TypeError, match=r"takes no keyword 'jit_compile'\. Leave it out: nothing is compiled\. It takes"
    ):
        md.Sequential().compile(jit_compile=True)
