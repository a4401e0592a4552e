"""Rollouts that never happened: how often the judge errs (`judged`), and how far a plan lets harm get (`plans`)."""
