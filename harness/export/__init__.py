"""Results in the formats of other tools, each number under the definition that the other tool has for its name."""
