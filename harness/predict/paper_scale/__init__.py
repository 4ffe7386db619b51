"""The papers' numbers beside what replays predict for their models and machines."""
