"""Load on a running service: profiles for locust."""
