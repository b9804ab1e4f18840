"""What do devices cost the provider, and what remained of what they brought?

It does not know how time was found, nor how lines were made.
"""
