"""Whether somebody else answers on a port in our place, for some address or by chance. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from devtasks.model import Process
from devtasks.outcomes import PortHolder
from devtasks.ports.verdict import Socket, place, user_name


def shadows(
    port: int, sockets: Sequence[Socket], holders: Sequence[PortHolder], processes: Mapping[int, Process]
) -> list[str]:
    """A line where who answers on `port` depends on the address, or on chance."""
    parties = _parties(sockets, holders, processes)
    if len(parties) < 2:
        return []
    told = "; ".join(f"{who} has {', '.join(sorted(held))}" for who, held in parties.items())
    everything = [address for held in parties.values() for address in held]
    if len(set(everything)) < len(everything):
        return [f"port {port} is shared, and each connection goes to one of them by chance: {told}"]
    families = {frozenset("[" in address for address in held) for held in parties.values()}
    if frozenset({True}) in families and frozenset({False}) in families:
        return [f"localhost:{port} may mean either program: {told}"]
    return [f"who answers on port {port} depends on the address: {told}"]


def _parties(
    sockets: Sequence[Socket], holders: Sequence[PortHolder], processes: Mapping[int, Process]
) -> dict[str, set[str]]:
    """Who is there to the addresses that they have: processes that serve together count as one.

    Together serve those of one service, those who share a socket, parent and child, and children of one parent
    with the same command line (workers, each with a socket of its own).
    """
    by_pid = {holder.pid: holder for holder in holders if holder.pid is not None}
    leader = {pid: pid for pid in by_pid}

    def find(pid: int) -> int:
        while leader[pid] != pid:
            pid = leader[pid]
        return pid

    def join(pids: Iterable[int]) -> None:
        first, *more = (find(pid) for pid in pids)
        for pid in more:
            leader[find(pid)] = find(first)

    for socket in sockets:
        if socket.pids:
            join(socket.pids)
    kin: dict[object, list[int]] = {}
    for pid, holder in by_pid.items():
        process = processes.get(pid)
        if holder.service is not None:
            kin.setdefault(holder.service, []).append(pid)
        elif process is not None:
            if process.ppid in by_pid:
                join([process.ppid, pid])
            if process.ppid > 1:
                kin.setdefault((process.ppid, process.cmdline), []).append(pid)
    for pids in kin.values():
        join(pids)
    parties: dict[str, set[str]] = {}
    for socket in sockets:
        if socket.pids:
            who = _name(by_pid[find(socket.pids[0])])
        else:
            who = f"a process of {user_name(socket.endpoint.uid) or 'somebody'}"
        parties.setdefault(who, set()).add(place(socket.endpoint))
    return parties


def _name(holder: PortHolder) -> str:
    if holder.service is not None:
        return holder.service
    return f"PID {holder.pid} ({holder.program or holder.command})"
