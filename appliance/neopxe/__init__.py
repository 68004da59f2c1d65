"""neopxe: a PXE boot server (PXE 2.1) that reads the `neopxe.conf` of the KernelNewbies article.

A protocol library: packets in and out are values (`packet`, `boot_menu`), `conf` reads the
configuration, and only `server` touches a socket. It knows nothing of the appliance.
"""
