"""Least privilege: the programs that drillctl may run as root on a host, and nothing else (docs/privileges.md)."""
