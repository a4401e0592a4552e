"""What `python -m monitoring` does, by what it is about."""
