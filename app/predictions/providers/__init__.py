"""The services that compute predictions: how each is asked and what its answers mean.

`replicate` and `openai` are pure, so that the API can check input and read webhooks without an HTTP client; `client`
sends what they describe.
"""
