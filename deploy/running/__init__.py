"""What runs on this machine: instances, who keeps them there, and how many there are."""
