"""Orders carried out, a file a kind: pure steps from a job's record and the view of the mesh.

A step may be taken by any leader, again and again: all that it needs is in the
record, the plans and what nodes say.
"""
