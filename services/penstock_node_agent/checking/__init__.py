"""Is this host fit to be a node, and if not, what is to be done about it?

What `penstock agent check` looks at and says. It does not know how an agent lives.
"""
