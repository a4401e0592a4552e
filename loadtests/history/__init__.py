"""Figures of all gates, over versions."""
