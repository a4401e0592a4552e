"""What happens to a Bento after it is built. Takes a Bento, gives processes, traffic, verdicts and history."""
