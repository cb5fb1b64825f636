"""Completion of task, flag and service names for the `devtasks` command, in bash, zsh and fish.

The scripts ask `devtasks --complete -- WORD…` with the words up to the cursor, the last one being typed; the
answer is one candidate a line, with a tab and its meaning after it. Under plain `inv`, Invoke completes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from devtasks.command import options, usage
from devtasks.command.tasks import VerbTask
from devtasks.errors import UsageError

_BASH = r"""# devtasks completion for bash. In ~/.bashrc: eval "$(devtasks --print-completion-script bash)"
_devtasks() {
    local IFS=$'\n' line
    local -a candidates=()
    while read -r line; do
        candidates+=("${line%%$'\t'*}")
    done < <(devtasks --complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
    local word="${COMP_WORDS[COMP_CWORD]}"
    [[ $word == "=" ]] && word=""
    COMPREPLY=($(compgen -W "${candidates[*]}" -- "$word"))
}
complete -o default -F _devtasks devtasks
"""

_ZSH = r"""#compdef devtasks
# devtasks completion for zsh. In ~/.zshrc: eval "$(devtasks --print-completion-script zsh)"
_devtasks() {
    local line
    local -a candidates
    for line in "${(@f)$(devtasks --complete -- "${(@)words[1,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( ${#candidates} )); then
        compset -P '--*='
        _describe -V devtasks candidates
    else
        _files
    fi
}
(( ${+functions[compdef]} )) || { autoload -Uz compinit && compinit -u }
compdef _devtasks devtasks
"""

_FISH = r"""# devtasks completion for fish.
# In ~/.config/fish/config.fish: devtasks --print-completion-script fish | source
function __devtasks_candidates
    set -l current (commandline -ct)
    set -l flag (string match --regex -- '^--[^=]+=' "$current")
    for line in (devtasks --complete -- (commandline -opc) "$current" 2>/dev/null)
        echo "$flag$line"
    end
end
complete --command devtasks --no-files --arguments '(__devtasks_candidates)'
complete --command devtasks --short-option C --long-option root --require-parameter --no-files \
    --arguments '(__fish_complete_directories)'
"""

SHELLS = ("bash", "zsh", "fish")
_SCRIPTS = dict(zip(SHELLS, (_BASH, _ZSH, _FISH), strict=True))

_VALUES: dict[str, Iterable[str]] = {"--color": get_args(options.Color), "--print-completion-script": SHELLS}


def script(shell: str) -> str:
    """The completion script for `shell`. Raises UsageError for one that has none."""
    if shell not in _SCRIPTS:
        raise UsageError(f'--print-completion-script: "{shell}" is none of {", ".join(_SCRIPTS)}')
    return _SCRIPTS[shell]


def root_of(words: Sequence[str]) -> str | None:
    """The folder that the words name with -C or --root, if they do."""
    for number, word in enumerate(words[:-1]):
        if word in ("-C", "--root"):
            return words[number + 1]
        if word.startswith("--root="):
            return word.partition("=")[2]
    return None


def candidates(
    words: Sequence[str], tasks: Sequence[VerbTask], services: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """What may stand in place of the last of `words` (the program's name not among them), and what it means.

    Not filtered by what the word begins with beyond its being a flag: shells do that.
    """
    *before, current = _joined(words) or [""]
    named = {task.name: task for task in tasks}
    task = next((named[word] for word in reversed(before) if word in named), None)
    flag, equals, _ = current.partition("=")
    if equals and flag.startswith("--"):
        yield from _values(flag, services)
        return
    previous = before[-1] if before else ""
    if previous.startswith("-") and _takes_value(previous, task):
        yield from _values(previous, services)
        return
    if current.startswith("-"):
        if task is None:
            for spelling, meaning in (*usage.CORE_FLAGS, *usage.ABROAD_FLAGS):
                yield spelling.rpartition("--")[1] + spelling.rpartition("--")[2].split()[0], meaning
            return
        used = {word.partition("=")[0] for word in before} - {"--only"}
        for name in task.flags:
            if f"--{options.dashed(name)}" not in used:
                yield f"--{options.dashed(name)}", usage.flag_meaning(task, name)
        yield "--help", "Show help for this task"
        return
    if task is not None and "only" in task.flags:
        given = set(before)
        yield from ((name, "service") for name in services if name not in given)
        if not current:
            return
    yield from ((task.name, usage.meaning(task)) for task in tasks)


def _joined(words: Sequence[str]) -> list[str]:
    """The words as typed: bash breaks them at `=`."""
    out: list[str] = []
    for word in words:
        if out and (word == "=" or out[-1].endswith("=")) and out[-1].startswith("--"):
            out[-1] += word
        else:
            out.append(word)
    return out


def _takes_value(flag: str, task: VerbTask | None) -> bool:
    name = flag.removeprefix("--").replace("-", "_")
    if flag in ("-C", "--root", "--print-completion-script"):
        return True
    if name in options.ABROAD:
        return options.value_name(name) is not None
    return task is not None and name in task.flags and options.value_name(name) is not None


def _values(flag: str, services: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Nothing for what we do not know: the shell offers files."""
    if flag == "--only":
        yield from ((name, "service") for name in services)
    yield from ((value, "") for value in _VALUES.get(flag, ()))
