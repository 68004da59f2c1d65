"""The NFS server: which one is ours, what it exports, and who has what mounted.

The servers are in daemons/, what is exported in layers/, what machines are told in menu/.
"""
