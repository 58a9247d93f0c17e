"""The endpoint agents talk to: requests in, answers out, each as OpenAI's API has it.

What is recorded of them is `serve.evidence`; which weights answer is `serve.change`.
"""
