"""Whose turn is it, who must yield, and until when does who waits?

Pools, quotas, places that are kept, and what runs are expected to take. It does not know what fits
where, how work is stopped, or what time it is.
"""
