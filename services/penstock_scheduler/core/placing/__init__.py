"""Where does a job fit, and could it ever?

One rank, or several together, on the nodes as they are or with nothing on them, and what is
expected to be asked for. It does not know who is next, nor who pays.
"""
