"""What is kept free for whom, and until when does what runs hold its place?

Places, their guests, nodes that are set aside, and the fleet as it will be when others have ended.
It does not know whose turn it is, nor who has to yield.
"""
