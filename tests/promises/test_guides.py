"""The guides' Python blocks run, each guide as one program; what a text block after one shows is what it prints.

``...`` in a text block stands for anything; lines may be broken anywhere.
"""

import contextlib
import doctest
import io
import re
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[2] / "examples" / "guides"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"```(\w+)\n(.*?)```\n", re.S)


def run(text, name):
    """Run the blocks of a guide; return how many of them were compared with a text block."""
    namespace, compared, printed = {"__name__": name}, 0, None
    for language, block in BLOCK.findall(text):
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, name, "exec"), namespace)
            printed = out.getvalue()
        elif language == "text" and printed is not None:
            same = doctest.OutputChecker().check_output(block, printed, FLAGS)
            assert same, f"{name}: expected\n{block}\ngot\n{printed}"
            compared, printed = compared + 1, None
    return compared


@pytest.mark.parametrize("path", sorted(GUIDES.glob("*.md")), ids=lambda path: path.stem)
def test_a_guide_runs_and_shows_what_it_prints(path, tmp_path, monkeypatch):
    text = path.read_text()
    if "import pandas" in text:
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    try:
        run(text, path.name)
    finally:
        for name in sys.modules.keys() - before:
            if name.startswith("digits"):
                del sys.modules[name]


def test_what_a_guide_shows_is_compared():
    guide = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    assert run(guide.format(2), "guide") == 1
    with pytest.raises(AssertionError, match="expected"):
        run(guide.format(3), "guide")


def test_every_guide_is_on_the_readmes_map_and_every_link_leads_somewhere():
    readme = (GUIDES.parents[1] / "README.md").read_text()
    for path in GUIDES.glob("*.md"):
        assert f"examples/guides/{path.name}" in readme
        for link in re.findall(r"\]\(([\w/.]+)\)", path.read_text()):
            assert (GUIDES / link).exists(), link
