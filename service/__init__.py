"""Answers: a model from BentoML's store behind the protocols that clients speak."""
