"""What servers and commands of ours need to speak HTTP with each other and with browsers: addresses, keys, who may ask.

Nothing here listens; the servers are `receiver.intake`, `serve.gateway` and `spanloop.page`.
"""
