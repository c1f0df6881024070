"""Lava Processes and their models. In a folder of their own: to compile a Process, Lava executes every module beside its own.

A module holds Processes together with their models, since models are looked up by the very class that they implement.
"""
