"""Better system messages looked for in what was logged. Keeps what is better as a version; promotes nothing unasked.

Versions themselves are `serve.prompts`.
"""
