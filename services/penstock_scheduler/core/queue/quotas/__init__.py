"""What does each quota hold, and what is it guaranteed, allowed and promised?

Pools and the tree of quotas below them, with what is held, was used and waits there. It does not
know who is next, nor what fits where.
"""
