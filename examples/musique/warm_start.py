"""Teaches a model to search and to tag its answer, on questions of the train split: a few minutes."""

import sys

from examples.demonstrations import parse, warm_start
from examples.musique.questions import load
from examples.musique.teacher import teacher

if __name__ == "__main__":
    options, flags = parse(__doc__, episodes=400)
    flags.append("--decomposed")  # the others would teach to answer without a search
    reply = teacher(load(options.datasets, "train", decomposed=True))
    print(warm_start("examples.musique.collect", reply, options, flags), file=sys.stdout)
