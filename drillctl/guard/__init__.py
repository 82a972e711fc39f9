"""The guard: what holds a host's lease and undoes a drill's changes there if drillctl vanishes (docs/guard.md)."""
