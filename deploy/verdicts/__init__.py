"""The judge for other programs: a verdict over HTTP, on their traffic, from Prometheus or from counts that they bring."""
