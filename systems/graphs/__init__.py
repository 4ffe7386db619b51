"""Forwards as graphs of a device, cut where the host has a say."""
