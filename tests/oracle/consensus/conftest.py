from hypothesis import settings

# The machine's speed is no property of the protocol.
settings.register_profile("consensus", deadline=None)
settings.load_profile("consensus")
