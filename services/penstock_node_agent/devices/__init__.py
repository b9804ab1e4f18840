"""Who looks after the devices of a node, and who hears what they read?

Around leases, between them and all the while; parts of devices; samples and metrics. How a kind of
device is asked is said in `drivers`, what follows from what is seen in `core`.
"""
