"""What was the time of each device spent on, and what did it draw?

Derived node by node as the ledger comes to know of it. It does not know what time is worth.
"""
