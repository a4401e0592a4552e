"""Rollouts of real Bentos under load: a demonstration, and how good they are in figures."""
