"""Logged states asked anew: what another model, or another prompt, would have done where an agent stood.

Tools are answered from the recording alone; nothing is simulated, trained or promoted here.
"""
