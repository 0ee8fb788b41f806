"""Sends readings on to a server; the recorder is the queue.

What the recorder has is numbered in the order in which it was written. The cursor is
the number up to which a server has everything, so an outage is just a longer query.
"""
