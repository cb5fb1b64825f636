"""Health from one answer to the next: pure. Answers and the time come in, a verdict goes out.

The meanings are Kubernetes': `failures` in a row make a service unhealthy, one success makes it healthy again;
within `start_period_seconds` after its start failures do not count, and a success ends that period.
"""

from __future__ import annotations

from devtasks.model import Condition, HealthProbe, Verdict
from devtasks.values import Value, replace


class Answer(Value):
    """What one probe found.

    foreign: somebody else is where the service should be, whatever it answers. unknown: it could not be asked
    (no descriptor left, the holder of the port may not be seen); that speaks neither for nor against it.
    """

    state: Verdict
    probe: str  # how it was asked: http, tcp, log, command, port, alive
    seconds: float
    detail: str  # one line for people; may hold what other programs wrote


class Health(Value):
    """One run of a service since it `began`, as its answers tell. Times are seconds on one monotonic clock.

    starting: no answer counted yet. Only `unhealthy` is a reason to restart: of `foreign` and `unknown` a
    restart would change nothing.
    """

    probe: HealthProbe
    began: float
    condition: Condition = "starting"
    failures: int = 0  # in a row, that counted
    proven: bool = False  # it was healthy once: the start period is over
    answer: Answer | None = None  # the last one
    answered_at: float | None = None
    next_at: float  # when to ask next: not before the present probe has its answer

    def asked(self, now: float) -> Health:
        """A probe begins. However long nothing was asked (a suspended machine), it is one."""
        return replace(self, next_at=now + self.probe.interval_seconds)

    def told(self, answer: Answer, now: float) -> Health:
        """The answer of the probe that began last."""
        return replace(
            self._judged(answer, now),
            answer=answer,
            answered_at=now,
            next_at=max(self.next_at, now),
        )

    def _judged(self, answer: Answer, now: float) -> Health:
        match answer.state:
            case "healthy":
                return replace(self, condition="healthy", failures=0, proven=True)
            case "foreign" | "unknown":
                return replace(self, condition=answer.state)
        if not self.proven and now - self.began < self.probe.start_period_seconds:
            return replace(self, condition="starting")
        failures = self.failures + 1
        if failures >= self.probe.failures:
            return replace(self, condition="unhealthy", failures=failures)
        # until then what was known holds; after foreign or unknown that is nothing
        held = self.condition if self.condition in ("healthy", "unhealthy") else "starting"
        return replace(self, condition=held, failures=failures)


def begin(probe: HealthProbe, now: float) -> Health:
    """The health of what was started (or found running) at `now`; the first probe is due at once."""
    return Health(probe=probe, began=now, next_at=now)
