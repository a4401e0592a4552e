"""States of a rollout, as the journal has them, and what may be asked of one."""

PROMOTED, ROLLED_BACK, ENDED, PAUSED, RUNNING = "promoted", "rolled back", "ended", "paused", "running"
ABORT = "abort"
#: What may be asked of a rollout, and the state that it brings.
WISHES = {"pause": PAUSED, "promote": PROMOTED, ABORT: ROLLED_BACK}
#: What one is that is `running` by the journal, and that nobody drives: its command was killed. See `deploy.fleet.state_of`.
GONE = "gone"
#: What to do about it.
GONE_ADVICE = "its command is gone: `resume` or `abort`"
#: Why one is paused whose command was asked to end; one that was killed is still `running`.
INTERRUPTED = "interrupted"
