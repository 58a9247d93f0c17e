"""The hosted model behind the student: how it is reached, whose calls stay with it, which answers will not do.

When a call goes on to it is decided in `serve.gateway.second`; what is recorded of its answers, in `serve.evidence`.
"""
