"""Load over time: `locust -f loadtests/locustfile.py,loadtests/shapes/spike.py -u 200 -t 10m`."""
