"""What is probed, one room each; every space fills ``.grad`` through ``polystep.method.Method``."""
