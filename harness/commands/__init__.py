"""The one door, and the commands that compare: `bench` and `suite`."""
