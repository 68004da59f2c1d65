"""Roots over NFS while the appliance runs: what is done with nfs/ and layers/, and when.

`nfs_roots` puts it together; the other files are its parts.
"""
