"""A rollout: a candidate is brought to users by a plan while it is judged, and is promoted or rolled back in the end.

What it does is in the journal before it is done; so a rollout whose command was killed goes on from where it was with
`resume`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from data.deployment import Plan
from data.errors import BentocastError
from deploy import autoscale, versions
from deploy.faults import BusyError, RolloutError
from deploy.fleet import SCALE_SECONDS, Fleet
from deploy.journal import Rollout, busy
from deploy.place import Place
from deploy.rollouts import closing, past, steps
from deploy.rollouts.closing import ENDING
from deploy.rollouts.progress import Progress
from deploy.rollouts.states import ABORT, ENDED, INTERRUPTED, PAUSED, PROMOTED, ROLLED_BACK, RUNNING, WISHES
from deploy.rollouts.steps import Clock, Steps
from deploy.running.instances import Instance
from deploy.versions import Version

#: Held by a command that drives a rollout, and so hears what is asked of it; `up` and `scale` hold the fleet's alone.
DRIVING = "driving"
GONE_BACK = "paused, users are back with the version before: go on with `resume`, or end it with `promote` or `abort`"
GO_ON = "paused, users stay where they are: go on with `resume`, or end it with `promote` or `abort`"


@dataclass
class Driver:
    """Drives one rollout to its end.

    Attributes:
        fleet: what is up.
        clock: time.
    """

    fleet: Fleet
    clock: Clock = field(default_factory=Clock)

    def begin(self, strategy: str, tag: str, plan: Plan) -> str:
        """Begin a rollout and drive it to its end.

        Args:
            strategy: name of the plan.
            tag: of the candidate.
            plan: that it goes by.

        Returns:
            How it ended: `promoted`, `rolled back`, `ended` or `paused`.

        Raises:
            BusyError: another rollout is under way.
            RolloutError: it cannot begin; nothing was changed.
        """
        with self._driving():
            return self._drive(self._write(strategy, tag, plan))

    def look(self, tag: str) -> tuple[str, str, int]:
        """What a rollout would begin with; nothing is changed.

        Args:
            tag: of the candidate.

        Returns:
            Tags of the Bento that serves and of the candidate, and how many instances the former has.

        Raises:
            RegistryError: there is no such Bento.
            BusyError: a rollout is under way.
            RolloutError: it could not begin.
        """
        candidate, stable = self._can_begin(versions.look, tag)
        under_way = self.fleet.journal.under_way()
        if under_way:
            raise busy(under_way)
        return stable[0].tag, candidate.tag, len(stable)

    def back(self, tag: str | None) -> str:
        """Go back to an earlier version, without judging it.

        Args:
            tag: of its Bento; the version before the one that serves if None.

        Raises:
            BusyError: a rollout is under way: abort it, which leads back too.
            RolloutError: no such version ever served here.
        """
        with self._driving():
            serves, rollouts = self.fleet.traffic().stable, self.fleet.journal.rollouts()
            if tag is None:
                tag = past.before(rollouts, serves)
            past.check_served(tag, rollouts, {one.tag for one in self.fleet.of(serves)})
            return self._drive(self._write(past.BACK, tag, None))

    def resume(self) -> str:
        """Go on with the rollout that is under way.

        Raises:
            RolloutError: there is none.
            BusyError: another command drives it.
        """
        with self._driving():
            rollout = self._under_way()
            self.fleet.journal.wish(rollout.id, "")
            return self._drive(rollout.id)

    def ask(self, wish: str) -> str:
        """Ask something of the rollout that is under way: of the command that drives it, or do it here.

        Args:
            wish: `pause`, `promote` or `abort`.

        Raises:
            RolloutError: no rollout is under way.
            BusyError: `up`, `scale` or the autoscaler changes the fleet, and goes on to.
        """
        rollout, journal, late = self._under_way(), self.fleet.journal, self.clock.monotonic() + SCALE_SECONDS
        while True:
            journal.wish(rollout.id, wish)
            if self.fleet.place.is_held(DRIVING):
                state = self._ending(rollout.id, wish)
                return (
                    f"the command that drives rollout {rollout.id} ends it already: {state}"
                    if state
                    else f"asked the command that drives rollout {rollout.id} to {wish}"
                )
            try:
                with self._driving():
                    return self._do(wish)
            except BusyError as err:
                if self.clock.monotonic() < late:
                    continue
                journal.wish(rollout.id, "")
                raise BusyError(
                    f"{wish} of rollout {rollout.id}: another command that drives no rollout (`up`, `scale`) has changed the "
                    f"deployment for {SCALE_SECONDS:.0f} s and more: see `python -m deploy status`, and {wish} again"
                ) from err

    def scale(self, many: int) -> None:
        """Have so many instances of the version that serves, whatever they have to do.

        Raises:
            BusyError: a command drives a rollout.
        """
        with self.fleet.alone():
            autoscale.stop(self.fleet)
            rollout = self.fleet.journal.under_way()
            if rollout:
                self._settle(rollout.id)
            stable = self.fleet.traffic().stable
            self.fleet.scale(self.fleet.version(stable), many)
            if rollout:  # which ends with as many
                progress = steps.recall(self.fleet, rollout.id)
                progress.instances = many
                self.fleet.journal.keep(rollout.id, progress.written())

    def down(self) -> None:
        """Bring the deployment down, and with it the rollout that is under way.

        Raises:
            BusyError: a command drives it.
        """
        with self.fleet.alone():
            rollout = self.fleet.journal.under_way()
            autoscale.stop(self.fleet)
            self.fleet.down()
            if rollout:  # not before: a candidate that still has users is there to abort
                self.fleet.journal.end(rollout.id, ENDED, "the deployment was brought down", self.clock.now())
                closing.tell(self.fleet, rollout.id)

    @contextmanager
    def _driving(self) -> Iterator[None]:
        """Nobody else changes the fleet, and what is asked of the rollout is heard here."""
        with self.fleet.alone(), self.fleet.place.held(DRIVING, "another command drives a rollout"):
            yield

    def _do(self, wish: str) -> str:
        """What is asked of a rollout that no command drives."""
        rollout, journal = self._under_way(), self.fleet.journal
        if self._ending(rollout.id, wish):
            return self._drive(rollout.id)
        journal.wish(rollout.id, "")
        if WISHES[wish] == PAUSED:
            journal.set_state(rollout.id, PAUSED, "asked to pause")
            closing.tell(self.fleet, rollout.id)
            return PAUSED
        return self._close(rollout, WISHES[wish], f"asked to {wish}")

    def _ending(self, number: int, wish: str) -> str:
        """The state that a rollout is about to end in whatever is asked, or nothing; a promotion can be aborted."""
        begun = self.fleet.journal.last(number, ENDING)
        if begun is None or (wish == ABORT and begun.about["state"] == PROMOTED):
            return ""
        return str(begun.about["state"])

    def _write(self, strategy: str, tag: str, plan: Plan | None) -> int:
        """Check that it can begin, and write it down."""
        fleet = self.fleet
        candidate, stable = self._can_begin(versions.take, tag)
        progress = Progress(stable[0].version, candidate.name, len(stable))
        written = fleet.plan.judged(plan).model_dump(mode="json") if plan else {}
        return fleet.journal.begin(
            strategy, stable[0].tag, candidate.tag, written, progress.written(), self.clock.now()
        )

    def _can_begin(self, find: Callable[[Place, str], Version], tag: str) -> tuple[Version, list[Instance]]:
        """The candidate, as it is found, and the instances of the version that serves."""
        traffic = self.fleet.traffic()
        candidate = find(self.fleet.place, tag)
        if candidate.name == traffic.stable:
            raise RolloutError(f"{candidate.tag} serves already")
        stable = self.fleet.of(traffic.stable)
        if not stable:
            raise RolloutError("the version that serves has no instance: see `python -m deploy status`")
        return candidate, stable

    def _retire_kept(self, rollout: Rollout) -> None:
        """End what an earlier rollout kept for a way back, unless it is what comes now."""
        stable, coming = self.fleet.traffic().stable, versions.name(rollout.candidate)
        kept = {one.version for one in self.fleet.instances()} - {stable, versions.baseline(stable), coming}
        if kept:
            self.fleet.retire(*kept)

    def _under_way(self) -> Rollout:
        rollout = self.fleet.journal.under_way()
        if rollout is None:
            raise RolloutError("no rollout is under way: see `python -m deploy history`")
        return rollout

    def _found(self, number: int) -> Rollout:
        rollout = self.fleet.journal.rollout(number)
        assert rollout is not None, "it was just written"
        return rollout

    def _drive(self, number: int) -> str:
        """Go on from what the journal says, to the end; whatever is wrong, users stay with the stable version."""
        try:
            return self._driven(number)
        except (BentocastError, OSError):  # the journal or the disk is away: what was tried could not be written down
            self.fleet.retreat()
            raise

    def _driven(self, number: int) -> str:
        journal = self.fleet.journal
        self._settle(number)
        begun = journal.last(number, ENDING)
        rollout = self._found(number)
        if begun:
            return closing.end(self.fleet, rollout, begun.about["state"], begun.about["reason"], self.clock.now())
        if rollout.strategy == past.BACK:
            return self._close(rollout, PROMOTED, "asked to go back")
        try:
            journal.set_state(number, RUNNING)
            self._retire_kept(rollout)
            state, reason = Steps.of(self.fleet, rollout, self.clock).take()
        except KeyboardInterrupt:
            journal.set_state(number, PAUSED, INTERRUPTED)
            self.fleet.say(GO_ON)
            closing.tell(self.fleet, number)
            raise
        except BentocastError as err:
            state, reason = ROLLED_BACK, err.message
        except OSError as err:  # the disk
            state, reason = ROLLED_BACK, str(err)
        except Exception as err:
            self._close(rollout, ROLLED_BACK, f"a fault of this program: {type(err).__name__}: {err}")
            raise
        if state == PAUSED:
            journal.set_state(number, PAUSED, reason)
            self.fleet.say(GONE_BACK if steps.recall(self.fleet, number).held else GO_ON)
            closing.tell(self.fleet, number)
            state = WISHES.get(wish := journal.wished(number), PAUSED)  # asked for while people were told
            if state == PAUSED:
                return PAUSED
            reason = f"asked to {wish}"
        return self._close(rollout, state, reason)

    def _settle(self, number: int) -> None:
        """Write down that users were brought back without the journal, if they were."""
        if self.fleet.router.has_retreated():
            steps.hold(self.fleet, number, steps.recall(self.fleet, number), self.clock.now())
            self.fleet.back()

    def _close(self, rollout: Rollout, state: str, reason: str) -> str:
        return closing.close(self.fleet, rollout, state, reason, self.clock.now())
