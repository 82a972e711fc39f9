"""Telling people: alarms, recoveries and the ends of drills, through whatever service they read."""
