"""Rollouts: step by step to users or back, and what people are told of them."""
