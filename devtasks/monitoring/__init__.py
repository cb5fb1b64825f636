"""The watch: what ends or stays unhealthy is started again, within limits (docs/monitor.md).

`claim` there is one monitor, `watched` what it knows of one service, `monitor` the loop, `deed` what it does in
threads beside the loop, `adoption` what an earlier one left, `hooks` who is told, `background` the detached one.
"""
