"""The lab: the appliance and virtual machines on a network that exists in a container alone.

`lab` brings it up and down, `machine` boots in it, `feed` hears the appliance, `timeline` draws.
"""
