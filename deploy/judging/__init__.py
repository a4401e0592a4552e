"""What speaks for a candidate and against it, and the verdict that comes of it."""
