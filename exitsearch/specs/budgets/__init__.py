"""The families of budget distributions; `exitsearch.specs.budget` brings them together."""
