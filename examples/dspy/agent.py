"""A program of DSPy: one prediction."""

import dspy

dspy.configure(lm=dspy.LM("openai/scripted-1", cache=False), adapter=dspy.ChatAdapter())
print(dspy.Predict("question -> answer")(question="What is 17 times 23?").answer)
