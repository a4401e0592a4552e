"""Envoy in front of the instances: its configuration, what it counts, and how traffic is moved."""
