"""The constant-rate client load during a drill, and what can be told from it.

`prober` sends, in a process of its own; `stream` starts it and listens; `detection` and `outage` are pure.
"""
