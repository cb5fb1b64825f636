"""Secrets in command lines, hidden before anybody reads them (facts: CVE-2026-32596).

A command line is a guess at what its words mean, so this errs on the side of hiding: what follows a word that
names a secret, credentials in URLs and headers, and what has the shape of a well-known token.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_WORDS = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|auth[-_]?key"
    r"|credentials?|cookie|session[-_]?id)"
)
# A name that ends in one of these holds no secret itself: --token-file, --password-stdin, PASS_FILENAME.
_HARMLESS = r"(?![-_]?(?:file(?:name)?|path|dir|stdin|env|type|length|url|prompt|policy|store|name|id)\b)"
_NAME = rf"[\w.-]*{_WORDS}{_HARMLESS}(?:[-_][\w-]*|s|\d+)?"
_VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s'",;&|)}\]]+)"""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host, also without a user (redis) or with a token as the user
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s@'\"]+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    # Authorization: Bearer x, Cookie: x, X-Api-Key: x; to the end of the quoted word
    (
        re.compile(
            r"((?:proxy-)?authorization|(?:set-)?cookie|[\w-]*(?:api-?key|token|secret))(['\"]?\s*:\s*)"
            r"(?:(basic|bearer|digest|token|negotiate)\s+)?(?:[^\s'\"]+(?:;\s*[^\s'\"]+)*)",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\b(bearer|basic)\s+(?=[\w+/.~=-]*[\d+/=])[\w+/.~=-]{12,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    # NAME=value, --name=value, "name": "value"
    (
        re.compile(rf"""(?<![\w-])(-{{0,2}}{_NAME}['"]?\s?[=:]\s?)(?!//)(?!\*\*\*){_VALUE}""", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    # --name value
    (re.compile(rf"(?<![\w-])(--?{_NAME}\s+)(?![-*]){_VALUE}", re.IGNORECASE), rf"\1{HIDDEN}"),
    # curl -u user:password, --user user:password
    (re.compile(r"((?:^|\s)(?:-u|--user|--proxy-user)[\s=]*['\"]?[^\s:'\"]+:)[^\s'\"]+"), rf"\1{HIDDEN}"),
    # sshpass -p password, redis-cli -a password, mysql -ppassword
    (re.compile(rf"(\bsshpass\s+-p\s*){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(\bredis-cli\b.*?\s-a\s+){_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(r"(\b(?:mysql|mariadb)[\w-]*\b.*?\s-p)[^\s]+"), rf"\1{HIDDEN}"),
    # tokens that are known by their looks
    (
        re.compile(
            r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk[-_](?:live|test|ant|proj)[-_]|npm_|pypi-|hf_)[\w-]{8,}"
            r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"
        ),
        HIDDEN,
    ),
)


def masked(text: str) -> str:
    """`text` with what looks like a secret replaced by `***`. Idempotent; leaves everything else as it is."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
