"""Drills by the clock: when they run, and the systemd timer, crontab line, GitHub workflow or GitLab job for it."""
