"""Secrets in command lines, hidden before anybody reads them (facts: CVE-2026-32596).

A command line is a guess at what its words mean, so this errs on the side of hiding: what follows a word that
names a secret, credentials in URLs and headers, and what has the shape of a well-known token. Every repetition
has a bound: a hostile command line may be megabytes long.
"""

from __future__ import annotations

import functools
import re

HIDDEN = "***"

_WORDS = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|auth[-_]?key"
    r"|credentials?|cookie|session[-_]?id)"
)
# A name that goes on like this holds no secret itself: --token-file, --password-stdin, PASS_FILENAME.
_HARMLESS = r"(?![-_]?(?:file(?:name)?|path|dir|stdin|env|type|length|url|prompt|policy|store|name|id)\b)"
_NAME = rf"[\w-]{{0,60}}{_WORDS}{_HARMLESS}(?:[-_][\w-]{{0,60}}|s|\d{{1,4}})?"
_VALUE = r"""(?:"[^"]{0,8192}"|'[^']{0,8192}'|[^\s'",;&|)}\]]{1,8192})"""

# What to find, in any case of letters, and what to put there.
_RULES = (
    # scheme://user:password@host, also without a user (redis)
    (r"((?<![\w+.-])[a-z][a-z0-9+.-]{0,30}://[^\s/:@'\"]{0,256}:)[^\s@'\"]{1,1024}@", rf"\1{HIDDEN}@"),
    # Authorization: Bearer x, Cookie: x, X-Api-Key: x
    (
        (
            r"((?<![\w-])(?:(?:proxy-)?authorization|(?:set-)?cookie|[\w-]{0,60}(?:api-?key|token|secret)))(['\"]?\s?:\s?)"
            r"(?:(?:basic|bearer|digest|token|negotiate)\s{1,4})?[^\s'\"]{1,8192}(?:(?<=;)\s[^\s'\"]{1,8192}){0,50}"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (r"(?<!\w)(bearer|basic)\s(?=[\w+/.~=-]{0,200}[\d+/=])[\w+/.~=-]{12,8192}", rf"\1 {HIDDEN}"),
    # NAME=value, --name=value, "name": "value"
    (rf"""(?<![\w-])({_NAME}['"]?\s?[=:]\s?)(?!//|\*\*\*){_VALUE}""", rf"\1{HIDDEN}"),
    # --name value
    (rf"(?<![\w-])(-{_NAME}\s{{1,4}})(?![-*]){_VALUE}", rf"\1{HIDDEN}"),
    # curl -u user:password, --user user:password
    (r"((?<!\S)(?:-u|--user|--proxy-user)[\s=]['\"]?[^\s:'\"]{1,256}:)[^\s'\"]{1,1024}", rf"\1{HIDDEN}"),
    # sshpass -p password, redis-cli -a password, mysql -ppassword
    (rf"((?<!\w)sshpass\s-p\s?){_VALUE}", rf"\1{HIDDEN}"),
    (rf"((?<!\w)redis-cli\s(?:[^\n]{{0,200}}?\s)?-a\s){_VALUE}", rf"\1{HIDDEN}"),
    (r"((?<!\w)(?:mysql|mariadb)[a-z-]{0,20}\s(?:[^\n]{0,200}?\s)?-p)[^\s]{1,1024}", rf"\1{HIDDEN}"),
)
# Tokens that are known by their looks; here the case of letters counts.
_TOKENS = (
    r"(?<![\w-])(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk[-_](?:live|test|ant|proj)[-_]|npm_|pypi-|hf_)"
    r"[\w-]{8,1024}"
    r"|(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)"
    r"|(?<![\w-])eyJ[\w-]{10,8192}\.[\w-]{10,8192}\.[\w-]{0,8192}"
)


@functools.cache
def _rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Compiled when the first command line is shown: it takes 2 ms, and `status` seldom shows one."""
    return (
        *((re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in _RULES),
        (re.compile(_TOKENS), HIDDEN),
    )


def masked(text: str) -> str:
    """`text` with what looks like a secret replaced by `***`. Idempotent; leaves everything else as it is."""
    for pattern, replacement in _rules():
        text = pattern.sub(replacement, text)
    return text
