"""AWS: ECS on Fargate behind a load balancer, RDS for PostgreSQL, ElastiCache for Valkey.

Modules use ``aws.ec2.Vpc`` through ``import pulumi_aws as aws``: the SDK then loads a service at its first use.
"""
