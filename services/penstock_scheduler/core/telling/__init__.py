"""What is said to whoever asks?

Why a job waits and what would do, which places were considered for it, how nodes and jobs stand,
and what is missing. It moves no job, and does not know who asks.
"""
