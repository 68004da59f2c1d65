"""What machines are offered, and by which command lines: values in, values out.

`menu` makes it of settings and catalog, `entries` has the values; over NFS, `nfs_boot` has the
words and `nfs_preflight` what a kernel lacks.
"""
