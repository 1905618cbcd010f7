"""Plays a load curve against the scaling policies of a plan: how many tasks, how long users wait, what it costs.

`from_plan` reads the services and their policies (`model`). `simulator` runs them: `load` arrives, `tasks` do the
`work`, `cloudwatch` evaluates alarms (`metric_math`), `autoscaler` sets the desired count. `report` and `plot` show it.
"""
