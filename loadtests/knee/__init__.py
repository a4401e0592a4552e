"""The highest rate at which a service keeps its objective."""
