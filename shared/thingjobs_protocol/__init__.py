"""The protocol that devices and the jobs service speak: topics, messages, states, errors, limits. Pure;
msgspec only.
"""
