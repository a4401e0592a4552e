"""What runs on this machine: instances, who keeps them there, and where they can be asked."""
