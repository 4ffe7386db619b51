"""Decisions as pure Python on numbers and ids: no torch, no clock, no thread; live and replay share them."""
