"""The questions that probes ask, each without blocking, and what keeps every one of them within its time."""
