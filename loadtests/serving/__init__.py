"""`make bench-serving`: our service against what a user would pick instead, in one run. docs/benchmarks.md explains it."""
