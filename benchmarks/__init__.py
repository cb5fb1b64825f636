"""How fast and how large devtasks is, each figure beside a baseline of the same run: `python -m benchmarks`.

Absolute times say little about another machine, so nearly every limit is a ratio or a difference to what the
machine itself, Invoke or a peer takes. Runs are interleaved: what disturbs one disturbs all. The least of all runs
decides, because a disturbance only adds; the median stands beside it.
"""
