"""What is watched on AWS, when somebody is told, and what is done about silence: data that `Monitoring` makes real."""
