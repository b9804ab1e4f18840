"""Who pays for a job, and for how long?

What is left of each budget, what running time can cost at most, and what is set aside for it. It
does not know what is due in the end, nor whose turn it is.
"""
