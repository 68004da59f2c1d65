"""Machines' writable layers over the versions of roots: on disk, mounted, furnished, measured.

`layers` has which there are to be, `holdings` those that are there, `storage` where they lie.
"""
