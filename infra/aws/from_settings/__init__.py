"""What the stack's settings mean for each component: plain translation, which makes no resource."""
