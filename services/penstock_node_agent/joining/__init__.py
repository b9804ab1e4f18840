"""How does a host become a node of a mesh, and how does it stay one?

With a token once, by its own key from then on. It does not know what a node does.
"""
