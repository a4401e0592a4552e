"""What params.yaml declares about series and features, with durations counted in steps, or refused and why."""

from __future__ import annotations

from typing import get_args

from data import durations
from data.errors import ConfigError
from data.matching import Matcher
from data.params import CalendarName, Covariates, Features, Series
from data.section import Section


class Declaration(Section):
    """All that the features depend on: the shape of the series and the list of features."""

    series: Series
    features: Features

    @property
    def used(self) -> Covariates:
        """The covariates that are features."""
        return self.series.covariates if self.features.covariates == "use" else Covariates()

    def steps(self, key: str, duration: str) -> int:
        """A duration in steps of the series.

        Args:
            key: where it stands under `features`.
            duration: such as `7d`.

        Raises:
            ConfigError: it is no multiple of the frequency.
        """
        try:
            return durations.steps(duration, self.series.frequency)
        except ValueError as err:
            raise ConfigError(f"params.yaml: features.{key}: {err}", param=f"features.{key}") from err

    def spread_steps(self, window: str) -> int:
        """The window of a spread in steps.

        Raises:
            ConfigError: it is no multiple of the frequency, or one step.
        """
        steps = self.steps("rolling_spread", window)
        if steps < 2:
            raise ConfigError(
                f"params.yaml: features.rolling_spread: got {window!r}, which is one step of the series, "
                "wanted a window of two steps or more",
                param="features.rolling_spread",
            )
        return steps

    def known_lag(self, key: str, season: str) -> int:
        """How many steps a feature looks back from its target's time.

        Raises:
            ConfigError: it is no multiple of the frequency, or not known at the origin.
        """
        steps, horizon = self.steps(key, season), self.features.horizon
        if steps < horizon:
            longest = durations.name(horizon * self.series.step_seconds)
            raise ConfigError(
                f"params.yaml: features.{key}: got {season!r}, which is {steps} steps, with a horizon of {horizon}: "
                f"at step {steps + 1} its value is not known at the origin, wanted {longest!r} or longer, "
                "or a shorter horizon",
                param=f"features.{key}",
            )
        return steps

    def matcher(self) -> Matcher | None:
        """The matched means, if there are any.

        Raises:
            ConfigError: they match on something unknown, or look back at nothing.
        """
        declared = self.features.matched_means
        if declared is None:
            return None
        choices = [*self.used.future, *get_args(CalendarName)]
        if declared.match not in choices:
            raise ConfigError(
                f"params.yaml: features.matched_means.match: got {declared.match!r}, which is not known at the target's "
                f"time, wanted one of {', '.join(choices)}",
                param="features.matched_means.match",
            )
        season = self.known_lag("matched_means.season", declared.season)
        lookback = self.steps("matched_means.lookback", declared.lookback)
        if lookback < season:
            raise ConfigError(
                f"params.yaml: features.matched_means.lookback: got {declared.lookback!r}, in which there is nothing a "
                f"season ({declared.season}) back, wanted {declared.season!r} or longer",
                param="features.matched_means.lookback",
            )
        return Matcher(
            match=declared.match,
            season=season,
            lookback=lookback,
            counts=declared.counts,
            ratios=tuple(self.steps("matched_means.ratios", window) for window in declared.ratios),
            ratio_count=declared.ratio_count,
            horizon=self.features.horizon,
        )
