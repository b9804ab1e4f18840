"""Where does one more rank do the least harm to what will come?

A fleet as arrays, policies that score every node for a shape, and the workload they expect. It does
not know jobs, leases, queues or time.
"""
