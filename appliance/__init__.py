"""Bootdrop's appliance: boots diskless machines from kernels dropped into a folder.

Settings and the volume go in, configuration of every daemon comes out; see docs/booting.md.
"""
