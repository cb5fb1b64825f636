"""Whose process is it: the rules of docs/ownership.md, as one pure judgement.

`facts` is all that a judgement rests on, `lineage` what is enough alone (what a process carries, or descends
from), `sweep` what is enough only together (a port or a pattern, and the place), `judge` the verdict.
"""

from devtasks.ownership.candidates import Candidates
from devtasks.ownership.facts import Facts
from devtasks.ownership.judge import Judge
from devtasks.ownership.marker import is_probe, make_marker, probe_of, split_marker
from devtasks.ownership.places import Places

__all__ = ["Candidates", "Facts", "Judge", "Places", "is_probe", "make_marker", "probe_of", "split_marker"]
