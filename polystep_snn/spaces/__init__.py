"""What is probed, one package each; every space fills ``.grad`` through ``polystep.method.Method``."""
