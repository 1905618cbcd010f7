"""Plays a load curve against the scaling policies of a plan: how many tasks, how long users wait, what it costs."""
