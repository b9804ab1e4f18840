"""Who is left alone for a while, and when is it tried again?

Jobs that cannot be started, nodes that refuse work, and nodes on which everybody's fails. It does
not know why, nor what else keeps a job waiting.
"""
