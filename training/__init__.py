"""From features to a judged model: backtest, fit, calibration, export, registry, import into BentoML."""
