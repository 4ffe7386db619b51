"""Systems that other people wrote, behind the same interface and the same clock."""
