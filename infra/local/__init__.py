"""The local target: real servers and the application's processes on this machine, as Pulumi resources.

Importing the package does nothing; the supervisor in particular must start fast and light.
"""
