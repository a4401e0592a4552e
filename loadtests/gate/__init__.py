"""The load gate: two Bentos side by side, and a verdict on the newer one."""
