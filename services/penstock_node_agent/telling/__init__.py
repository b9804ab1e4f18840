"""How does what a node has to tell reach the mesh?

Reports, usage and jobs' output, each kept until it is stored. What there is to tell is said by
`core` and by the jobs.
"""
