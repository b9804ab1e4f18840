"""What is around the command of a job on this host?

A place to run in, an environment, files, secrets, an image. It does not start or end processes:
that is the reaper's.
"""
