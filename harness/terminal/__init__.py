"""What is printed, in terminals of any width."""
