"""AWS in this process: moto behind the engine's provider interface, as strict as botocore's service models."""
