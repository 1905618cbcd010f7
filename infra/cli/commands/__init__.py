"""The commands of `slipway`, a module each: `register` adds its arguments, `run` does it."""
