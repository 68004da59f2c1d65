"""Makes installroot trees and ramdisks from recipes.

It runs in an image of its own and shares nothing with the appliance but parts of the volume.
"""
