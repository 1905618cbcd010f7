"""The alarms of a stack as data, which `Monitoring` makes real: what is measured, and when somebody is notified."""
