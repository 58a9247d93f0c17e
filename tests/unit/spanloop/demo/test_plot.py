"""Pictures of a demo: every night and what came after, and a page that holds what others named as text."""

from pathlib import Path

from spanloop.demo.plot import draw, draw_windows, save

NIGHTS = [{"night": number, "train_reward": 0.1 * number, "heldout_reward": 0.2 * number} for number in (1, 2)]


def test_held_out_reward_is_drawn_once_more_than_nights() -> None:
    """The last point is what the nights left; without any night it stands alone."""
    training, heldout = draw(NIGHTS, before=0.2, after=0.9).axes[0].lines
    (alone,) = (line for line in draw([], before=0.2, after=0.2).axes[0].lines if len(line.get_xydata()))

    assert [list(map(float, line.get_ydata())) for line in (training, heldout)] == [[0.1, 0.2], [0.2, 0.4, 0.9]]
    assert list(map(float, alone.get_xydata()[0])) == [1.0, 0.2]


def test_the_running_mean_is_of_eight_windows_at_most() -> None:
    """Of as many as there are before that."""
    windows = [{"window": number, "reward": float(number > 8)} for number in range(1, 17)]

    _, smooth, ends = draw_windows(windows, task="t", before=0.1, after=0.7).axes[0].lines

    assert list(map(float, smooth.get_ydata())) == [0.0] * 8 + [part / 8 for part in range(1, 9)]
    assert list(map(float, ends.get_xdata())) == [0.5, 16.5]


def test_the_page_shows_names_as_text(tmp_path: Path) -> None:
    """Beside the picture, and numbers to three places."""
    rows = [{"<b>": "<script>", "reward": 1 / 3}]

    png, page = save(draw(NIGHTS, before=0.2, after=0.9), tmp_path, rows=rows)

    text = page.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in text
    assert "<th>&lt;b&gt;</th>" in text
    assert "<td>&lt;script&gt;</td><td>0.333</td>" in text
    assert "<script>" not in text
