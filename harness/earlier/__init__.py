"""Commands as they were called before `python -m harness COMMAND`; nothing else imports them."""
