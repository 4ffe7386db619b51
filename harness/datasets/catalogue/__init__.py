"""The datasets: one file each, whose `SPEC` says where it is from, what is asked, and how answers are scored."""
