"""Who must yield to whom, and what is lost by that?

Who may be asked, what would fit if they went, and which of them are asked. It does not know how
work is ended.
"""
