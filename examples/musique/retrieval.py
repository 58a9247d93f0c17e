"""An MCP server with one tool: search the closed corpus by BM25. It speaks over stdin and stdout.

python -m examples.musique.retrieval --datasets DIR
"""

import argparse
from pathlib import Path

import bm25s
from mcp.server.mcpserver import MCPServer

from examples.musique.questions import Paragraph, read_corpus, shown

MAX_QUERY = 1000
"""Characters of a query that count."""


class Index:
    """The corpus, ranked by BM25 over title and text (k1 1.2, b 0.75)."""

    def __init__(self, corpus: list[Paragraph]) -> None:
        self._corpus = corpus
        self._ranking = bm25s.BM25(k1=1.2, b=0.75)
        texts = [f"{one.title} {one.text}" for one in corpus]
        self._ranking.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)

    def search(self, query: str, k: int) -> list[Paragraph]:
        """Return the best paragraphs; a query no word of which occurs finds none."""
        words = bm25s.tokenize([query[:MAX_QUERY]], show_progress=False, return_ids=False)
        if not words[0]:
            return []
        places, scores = self._ranking.retrieve(words, k=min(k, len(self._corpus)), show_progress=False)
        return [self._corpus[place] for place, score in zip(places[0], scores[0], strict=True) if score > 0]


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--top-k", type=int, default=3, help="paragraphs found by a query")
    parser.add_argument("--paragraph-chars", type=int, default=2000, help="characters of each that are shown")
    options = parser.parse_args()
    index = Index(read_corpus(options.datasets))
    server = MCPServer("retrieval", log_level="ERROR")

    @server.tool(structured_output=False)
    def search(query: str) -> str:
        """Search Wikipedia."""
        found = index.search(query, options.top_k)
        return "\n".join(shown(one, options.paragraph_chars) for one in found) or "Nothing was found."

    server.run()


if __name__ == "__main__":
    main()
