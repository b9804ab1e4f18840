"""What does a node have to hear?

What it should hold now, for which leases that has changed, and how much of it one message takes.
It does not know how orders travel, nor what becomes of them.
"""
