"""An engine on Transformers with vLLM's API, for laptops and tests where vLLM cannot run.

A process of its own; the gateway imports none of it.
"""
