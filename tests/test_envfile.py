"""Files of KEY=value lines."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtasks.config import envfile
from devtasks.errors import ConfigError


def problems(path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        envfile.read(path)
    assert caught.value.exit_code == 2
    assert all(line.startswith(f"{path}:") for line in caught.value.problems)
    return [line.removeprefix(f"{path}:").lstrip() for line in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n# comment\n   # another\n\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB='x\ty'\r\n", {"A": "1", "B": "x\ty"}),
        ("\ufeffA=1", {"A": "1"}),
        ("export A=1\n export  B = 2 ", {"A": "1", "B": "2"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A= # comment", {"A": ""}),
        ("A=#fff", {"A": "#fff"}),
        ("A=x#y z # comment", {"A": "x#y z"}),
        ("A=two words  ", {"A": "two words"}),
        ("A=it's", {"A": "it's"}),
        ("A=a=b==", {"A": "a=b=="}),
        ("A=1\nA=2", {"A": "2"}),
        ("A='$HOME `x` \\n # no'", {"A": "$HOME `x` \\n # no"}),
        ("A=$HOME/${B}", {"A": "$HOME/${B}"}),
        (r'A="a\nb\tc\r\"\\\$x\q"', {"A": 'a\nb\tc\r"\\$x\\q'}),
        (r'A="\\n"', {"A": "\\n"}),
        ("A=\"x\" # comment\nB='y'#c", {"A": "x", "B": "y"}),
        ('A="one\\\ntwo"', {"A": "one\\\ntwo"}),
        ('A="one\ntwo # in\n" \nB=1', {"A": "one\ntwo # in\n", "B": "1"}),
        ("A='one\ntwo'\nB=1", {"A": "one\ntwo", "B": "1"}),
        ("npm_config.x-y=1\n_A=é", {"npm_config.x-y": "1", "_A": "é"}),
        ("DEVTASKSX=1", {"DEVTASKSX": "1"}),
    ],
)
def test_the_format(tmp_path, text, variables):
    path = tmp_path / ".env"
    path.write_bytes(text.encode())
    assert envfile.read(path) == variables


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nB", "2: not KEY=value"),
        ("1A=1", "1: not KEY=value"),
        ("A B=1", "1: not KEY=value"),
        ("export A", "1: not KEY=value"),
        ("=1", "1: not KEY=value"),
        ("A='x\nB=1", "1: the quote opened by A is never closed"),
        ('A="x\\"\nB=1', "1: the quote opened by A is never closed"),
        ('A="x"y', "1: A has something after its closing quote"),
        ("\n\nDEVTASKS_ID=x", "3: DEVTASKS_ID may not be set"),
        ("export DEVTASKS_KEEP='1'", "1: DEVTASKS_KEEP may not be set"),
        ("A=a\0b", "1: A holds a NUL character"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path, text, message):
    path = tmp_path / ".env"
    path.write_text(text)
    assert problems(path)[0].startswith(message)


def test_all_mistakes_are_told_with_their_lines(tmp_path):
    path = tmp_path / ".env"
    path.write_text('A="1\n2"\nB\nC="x" y\nD="\n" z\nDEVTASKS_ID=1\n')
    assert [line.split(":")[0] for line in problems(path)] == ["3", "4", "5", "7"]


def test_no_value_is_in_a_message(tmp_path):
    path = tmp_path / ".env"
    path.write_text("DEVTASKS_X=hunter2\nA='hunter2\n")
    assert "hunter2" not in "".join(problems(path))


def test_what_is_not_utf_8_is_told_with_its_line(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\nB=\xff\n")
    assert problems(path) == ["2: not UTF-8; save the file as UTF-8"]


def test_a_missing_file(tmp_path):
    assert problems(tmp_path / "none") == ["no such file; create it, or remove env_file from the service"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "large", "loop"])
def test_what_is_no_small_file_neither_hangs_nor_fills_memory(tmp_path, kind):
    path = tmp_path / "x"
    reason = "not a regular file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.touch()
        os.truncate(path, 1 << 40)
        reason = "larger than 1048576 bytes"
    else:
        path.symlink_to("x")
        reason = "too many levels of symbolic links"
    before = time.monotonic()
    (only,) = problems(path)
    assert only == f"cannot be read: {reason}"
    assert time.monotonic() - before < 5


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "real").write_text("A=1")
    (tmp_path / "link").symlink_to("real")
    assert envfile.read(tmp_path / "link") == {"A": "1"}


@settings(max_examples=300, deadline=None, database=None)
@given(st.text(alphabet="A=\"'\\#\n $x\0 "))
def test_any_text_is_read_or_refused(text):
    variables, mistakes = envfile.parse(text)
    assert all(1 <= line <= text.count("\n") + 1 for line, _ in mistakes)
    assert all("\0" not in value for value in variables.values())


@settings(max_examples=200, deadline=None, database=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")))
def test_any_value_can_be_written_in_double_quotes(value):
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert envfile.parse(f'A="{quoted}"\nB=1') == ({"A": value, "B": "1"}, [])


@pytest.mark.parametrize("unit", ["A='", 'A="', "A='\n", 'A="\\\n', "A=x #\n", "A", " ", "\\"])
def test_the_worst_files_take_no_time(unit):
    before = time.process_time()
    envfile.parse(unit * ((1 << 20) // len(unit)))
    assert time.process_time() - before < 20
