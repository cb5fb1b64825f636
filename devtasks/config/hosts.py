"""The table `hosts`: other hosts that run the project, in named groups."""

from __future__ import annotations

from devtasks.config.readers import FILE_PATH, REMOTE_HOST, array, matching, service_name, words
from devtasks.config.section import Mistake, Section, key_text
from devtasks.model import HostGroup

LONGEST_HOST = 300
_matching_host = matching(
    REMOTE_HOST, 'a host like "web1", "deploy@web1:2222" or "[::1]:22", with the user and the port as needed'
)
_folder = matching(FILE_PATH, "a path without control characters; a relative one starts at the login's home")


def remote_host(value: object) -> str:
    """[USER@]HOST[:PORT]"""
    host = _matching_host(value)
    if len(host) > LONGEST_HOST:
        raise Mistake(f"must have at most {LONGEST_HOST} characters, not {len(host)}")
    return host


_hosts = array(remote_host, minimum=1, unique=True)


def read_hosts(section: Section) -> tuple[HostGroup, ...]:
    """The groups. Mistakes go to the section."""
    if not section.table:
        section.problems.append(f'{section.place}: names no host; write a group, as in web = ["web1", "web2"]')
    groups: list[HostGroup] = []
    for name in section.table:
        try:
            service_name(name)
        except Mistake:
            section.problem(key_text(name), "must be the name of a group: a-z first, then a-z, 0-9 and -")
        if isinstance(section.table[name], (list, tuple)):
            groups.append(HostGroup(name=str(name), hosts=section.take(name, _hosts, ())))
            continue
        group = section.section(name)
        if group is not None:
            groups.append(
                HostGroup(
                    name=str(name),
                    hosts=group.require("hosts", _hosts, (), 'write the hosts, as in ["web1", "web2"]'),
                    path=group.take("path", _folder, None),
                    command=group.take("command", words, ("devtasks",)),
                )
            )
            group.finish()
    return tuple(groups)
