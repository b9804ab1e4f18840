"""What would the scheduler's core have done with a trace?

Reads nodes and jobs from tables, feeds the placement core in virtual time, and tells what came of
it. It decides nothing: every placement is the production core's.
"""
