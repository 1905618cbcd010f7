"""The dynamic providers of the local target.

They are pickled by reference, so these module and class names are part of every state file: do not rename them. All
operations can be repeated: `create` takes over or mends what an interrupted run left.
"""
