"""Between drills: both zones and the gateway looked at by the clock, and what changed said, stored and told."""
