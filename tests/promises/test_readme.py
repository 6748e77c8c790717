"""The README's Python blocks run, in order, as one program."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def test_the_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as where a program is started
    blocks = python_blocks()
    assert len(blocks) >= 2
    names = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


def test_the_set_up_commands_are_two_lines():
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.S)
    assert [block.count("\n") for block in blocks[:2]] == [1, 1]


def test_no_line_speaks_of_a_place_on_this_machine():
    text = README.read_text()
    for word in ("/work/", "/root/", "/tmp/"):
        assert word not in text


@pytest.mark.parametrize("name", [path.stem for path in (README.parent / "examples").glob("*.py")])
def test_every_example_is_mentioned(name):
    assert f"examples/{name}.py" in README.read_text()
