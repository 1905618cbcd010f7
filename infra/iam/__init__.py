"""Derives the IAM policies of whoever deploys or previews a stack on AWS from the resources of its plan."""
