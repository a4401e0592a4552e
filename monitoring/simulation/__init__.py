"""A simulator of time: months of requests and actual values through the real service in minutes, with faults to switch on."""
