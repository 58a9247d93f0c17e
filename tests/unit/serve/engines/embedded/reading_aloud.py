"""A sampler that says what a test told it to."""

from collections.abc import AsyncGenerator

from serve.engines.embedded.generation import Token
from serve.engines.embedded.models import GrowingAnswer, Job, Piece, Sampler
from tests.fakes import END


class ReadingAloud(Sampler):
    """An engine whose model says what it is told to."""

    script = ""

    async def sample(self, job: Job) -> AsyncGenerator[Piece, None]:
        choice = GrowingAnswer(0, job.prompts[0])
        for place, token_id in enumerate([*self.tokenizer.encode(self.script), END]):
            token = Token(token_id, -float(place), (), "stop" if token_id == END else None)
            text = "" if token_id == END else self.tokenizer.decode([token_id])
            choice.ids.append(token_id)
            choice.tokens.append(token)
            choice.text += text
            choice.finish_reason = token.finish_reason
            yield Piece(choice, token, text)
