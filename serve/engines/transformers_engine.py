"""The embedded engine as a child process: its command line, and models beside each other in one process."""

import sys
from pathlib import Path

from serve.engines.adapters import whole_model
from serve.engines.engine import Engine, LoadRefused
from train.schema import tokenizer_digests


class EmbeddedEngine(Engine):
    """`serve.engines.embedded.server`: a Transformers model, batched in one process."""

    kind = "embedded"
    provider = "transformers"

    def command(self) -> list[str]:
        """Return the command line of the embedded engine."""
        command = [sys.executable, "-m", "serve.engines.embedded.server", str(self.model), "--uds", str(self.socket)]
        return [*command, "--name", self.name, *self.extra_arguments]

    async def load(self, checkpoint: Path) -> str:
        """Have the engine open the checkpoint beside the model it has, then put it in its place."""
        return await self.add(checkpoint, self.name)

    def can_add(self, checkpoint: Path) -> bool:
        """Tell whether a checkpoint has the tokenizer there is: any number of models share the one."""
        return tokenizer_digests(whole_model(checkpoint)) == tokenizer_digests(whole_model(self.model))

    async def add(self, checkpoint: Path, name: str) -> str:
        """Open a checkpoint beside the models there are; an adapter merged into its base."""
        answer = await self.post("/load", {"path": str(checkpoint), "name": name})
        if not answer["ok"]:
            raise LoadRefused(f"the engine refused {checkpoint}: {answer['error']}")
        return str(answer["dtype"])

    async def remove(self, name: str) -> None:
        """Forget one of the models."""
        await self.post("/unload", {"name": name})
