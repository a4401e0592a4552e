"""Forecasts of all series of a table, by the core that answers requests, in chunks that a killed run need not do again."""
