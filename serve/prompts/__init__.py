"""Versions of agents' system messages: kept, recognised in a request, put in their place. Nothing here writes a prompt.

What the gateway answers under a version is judged in `serve.canary`; better ones are looked for in `spanloop.prompts`.
"""
