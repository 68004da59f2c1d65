"""Root over NFS: writable layers over the versions of roots, their mounts, and who uses them.

What serves them is in daemons/; what machines are told is in the menu.
"""
