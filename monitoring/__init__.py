"""Monitoring: the seven tests of the ML Test Score, what Prometheus is told, and the loop back to training."""
