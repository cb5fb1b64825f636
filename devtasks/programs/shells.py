"""The simple commands in a string that a shell is to run. Not a shell: what it cannot read is left unread."""

from __future__ import annotations

import re

from devtasks.programs.names import word_set
from devtasks.values import Row, replace

SHELLS = word_set(
    """
    sh ash bash csh dash elvish fish ksh ksh93 mksh nu oksh osh tcsh xonsh yash zsh
    """
)

_LONGEST = 4096  # characters; a longer string is a program of its own, not somebody's command
_PLAIN = r"[\w@%+=:,./ -]*"
_PIECES = r"""[ \t]*(?:
    (?P<redirection>\d*(?:>>|>&|>\||<&|<<<|<<|[<>])|&>>?)
  | (?P<operator>&&|\|\||;;|[;|&\n\r()])
  | (?P<word>(?:[^\s;&|()<>"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+)
)"""
_QUOTED = r"""\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'"""
_RESERVED = word_set(
    """
    ! { } do done else elif fi if then time until while exec command builtin
    """
)
_SILENT = word_set(
    """
    : . [ alias break cd continue disown echo exit export false popd printf pushd pwd read return set
    shift shopt sleep source test trap true type ulimit umask unset wait
    """
)  # they prepare, tell or wait: never what a string is run for
_LISTS = frozenset(("for", "case", "select", "function"))


class Simple(Row):
    """One simple command. `after` is the operator behind it, "" at the end; `folder` the last `cd` before it."""

    words: tuple[str, ...]
    after: str
    folder: str | None


def assignment(word: str) -> bool:
    """Whether a word in front of a command sets a variable."""
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isascii() and name.isidentifier()


def simple_commands(text: str) -> tuple[Simple, ...]:
    """Split `text` as sh would, without running or expanding anything.

    `cd`, assignments, `exec`, reserved words and builtins that only prepare or tell are left out, and so are
    redirections. Every word is a part of `text`: a string whose words are put together from pieces gives
    nothing, and neither does one that is unbalanced or longer than 4096 characters.
    """
    if len(text) > _LONGEST or "$(" in text or "`" in text:
        return ()
    if re.fullmatch(_PLAIN, text):
        return _finish([(text.split(), "")])
    grammar = re.compile(_PIECES, re.VERBOSE | re.DOTALL)  # here, for most commands never need it
    raw: list[tuple[list[str], str]] = []
    words: list[str] = []
    position, target = 0, False
    end = len(text.rstrip())
    while position < end:
        token = grammar.match(text, position)
        if token is None:
            return ()
        position = token.end()
        if token["redirection"]:
            target = True
        elif token["operator"]:
            raw.append((words, token["operator"]))
            words = []
        elif target:
            target = False
        else:
            word = _unquoted(token["word"])
            if word not in text:
                return ()
            words.append(word)
    raw.append((words, ""))
    return _finish(raw)


def services(commands: tuple[Simple, ...]) -> tuple[Simple, ...]:
    """Those of a string's commands that run for as long as the string does.

    What stands before `&&`, `;` or `||` has ended when the last command runs. What ends in `&` runs beside
    it, and all parts of a pipeline run together.
    """
    last = len(commands) - 1
    return tuple(
        command
        for index, command in enumerate(commands)
        if index == last or command.after == "&" or (command.after == "|" and _piped_to_last(commands, index))
    )


def _piped_to_last(commands: tuple[Simple, ...], index: int) -> bool:
    return all(command.after in ("|", "&") for command in commands[index:-1])


def _finish(raw: list[tuple[list[str], str]]) -> tuple[Simple, ...]:
    found: list[Simple] = []
    folder: str | None = None
    for words, after in raw:
        start = 0
        while start < len(words) and (words[start] in _RESERVED or assignment(words[start])):
            start += 1
        rest = words[start:]
        if after == ")":
            folder = None if not rest else folder
        if not rest and found and found[-1].after == ")":
            found[-1] = replace(found[-1], after=after)
        if not rest or rest[0] in _LISTS:
            continue
        if rest[0] in ("cd", "pushd") and len(rest) == 2:
            folder = rest[1]
        if rest[0] not in _SILENT:
            found.append(Simple(tuple(rest), after, folder))
    return tuple(found)


def _unquoted(word: str) -> str:
    if "'" not in word and '"' not in word and "\\" not in word:
        return word
    return re.sub(
        _QUOTED, lambda part: next((text for text in part.groups() if text is not None), ""), word, flags=re.DOTALL
    )
