"""Teaches a model to call the calculator and to mark its answer, on problems of the train split: a few minutes."""

import sys

from examples.calcx.questions import load
from examples.calcx.teacher import teacher
from examples.demonstrations import parse, warm_start

if __name__ == "__main__":
    options, flags = parse(__doc__, episodes=400)
    reply = teacher(load(options.datasets, "train"))
    print(warm_start("examples.calcx.collect", reply, options, flags), file=sys.stdout)
