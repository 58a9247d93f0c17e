"""Teaches a model to write SQL for questions of Spider's train split, until it succeeds sometimes: a few minutes."""

import sys

from examples.demonstrations import parse, warm_start
from examples.spider.questions import Restriction, load
from examples.spider.teacher import teacher

if __name__ == "__main__":
    options, flags = parse(__doc__, episodes=600)
    questions = load(options.datasets, "train", Restriction(one_table="--one-table" in flags))
    print(warm_start("examples.spider.collect", teacher(questions), options, flags), file=sys.stdout)
