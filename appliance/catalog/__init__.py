"""What lies in the drop folder: kernels with what belongs to them, and what is wrong with the rest.

Reading only: nothing here changes the volume. `model` has the values, `scan` the walk.
"""
