"""The watch: what ends or stays unhealthy is started again, within limits (docs/monitor.md).

`claim` there is one monitor, `watched` what it knows of one service, `monitor` the loop, `surroundings` what its
parts share. These are `adoption` (what an earlier one left), `tracking` (which process is watched), `illness`
(whether it is well), `ends` (how it ended), `restarting` (what follows) and `deed` (what is done in threads beside
the loop). `hooks` who is told, `background` the detached one.
"""
