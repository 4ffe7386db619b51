"""What each part can be told in a system's YAML: its options, and which values make sense.

Options of policies that need nothing but themselves are beside the policies, in `systems.policies`.
"""
