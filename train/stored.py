"""Training from a store: brings the published transitions and the model to this machine, and takes the checkpoint back.

    spanloop-data/stored/dataset/…      copy of what the store says is published, of the tables that training reads
    spanloop-data/checkpoints/<name>    the model, where it is a checkpoint of the store, and what comes of it

Of the processes that a launcher started, the first says what is read and one on each machine brings it, so that all
train on the same files, whatever is committed meanwhile.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from etl.schema import STORED, check_layout, dataset_directory, watermark_path
from foundation.directories import url_of
from foundation.errors import Busy, SettingsError
from foundation.files import make_directory, write_json
from foundation.narration import get_logger
from foundation.settings import DEFAULT_DATA
from foundation.store.directory import pull_directory, push_directory
from foundation.store.opening import open_store
from foundation.store.pointer import Damaged, Pointer, fetch, read_pointer
from foundation.store.store import Store
from foundation.web import places
from train.data.feedback import FEEDBACK_TABLES
from train.schema import ADAPTER_CONFIG, CHECKPOINTS, COPIED, CREDIT_FILE, MANIFEST, read_manifest
from train.settings import TrainConfig

log = get_logger("train")

TABLES = ("transitions",)
"""What every training reads."""


def at_hand(config: TrainConfig) -> TrainConfig:
    """Return settings that name directories of this machine alone, after bringing what they name in a store."""
    url = url_of(config.data)
    if url is None:
        return config
    store = open_store(url)
    if (back := places.store()) is not None:
        open_store(back)  # what cannot be one is refused now, not after hours
    state = PartialState(cpu=not torch.cuda.is_available())
    (pointer,) = broadcast_object_list([read_pointer(store, STORED) if state.is_main_process else None])
    data = (DEFAULT_DATA / COPIED).parent
    with state.local_main_process_first():
        if state.is_local_main_process:
            tables = (*TABLES, *FEEDBACK_TABLES) if config.feedback else TABLES
            num_files = bring_tables(store, pointer, data, tables)
            log.info("brought", store=store.url, commit=pointer.facts["commit"], files=num_files)
            bring_model(store, config.model)
    model = config.model if config.model.exists() else DEFAULT_DATA / CHECKPOINTS / config.model
    out = config.out or DEFAULT_DATA / CHECKPOINTS
    return config.model_copy(update={"data": data, "model": model, "out": out})


def bring_tables(store: Store, pointer: Pointer, data: Path, tables: Sequence[str] = TABLES) -> int:
    """Make DATA's tables those that a pointer names; return how many files came."""
    if "watermark" not in pointer.facts:
        raise SettingsError(
            f"nothing is published in {store.url}", hint="spanloop etl run --store URL, or spanloop store push"
        )
    check_layout(pointer.facts["watermark"], f"{store.url}/{STORED}")
    begins = tuple(f"dataset/{table}/" for table in tables)
    named = {key: said for key, said in pointer.files.items() if key.startswith(begins)}
    for table in tables:
        make_directory(dataset_directory(data, table))
    missing = {key: said for key, said in named.items() if not (data / key).exists()}
    try:
        for key, said in missing.items():
            fetch(store, key, said, data / key)
    except Damaged as error:
        if read_pointer(store, STORED).tag != pointer.tag:
            raise Busy(f"{store.url} was committed to meanwhile", hint="Try again.") from error
        raise
    write_json(watermark_path(data), pointer.facts["watermark"])
    for path in watermark_path(data).parent.glob("*/*"):  # what was published again may hold what was to be forgotten
        if path.relative_to(data).as_posix() not in named:
            path.unlink()
    return len(missing)


def bring_model(store: Store, model: Path) -> None:
    """Bring a checkpoint of a store and the base of an adapter, unless a directory is meant or they are here."""
    for name in _names(model):
        directory = DEFAULT_DATA / CHECKPOINTS / name
        if not (directory / MANIFEST).exists() and pull_directory(store, CHECKPOINTS, name, directory=directory):
            log.info("brought", store=store.url, checkpoint=name)


def _names(model: Path) -> Iterator[str]:
    if model.exists() or model.name != str(model):
        return
    yield model.name
    directory = DEFAULT_DATA / CHECKPOINTS / model
    if (directory / ADAPTER_CONFIG).exists() and (base := read_manifest(directory).base) is not None:
        yield Path(base.path).name


def take_back(checkpoint: Path) -> None:
    """Push a checkpoint to the store that was named as the place for it, where one was; its credit stays."""
    url = places.store()
    if url is not None:
        store = open_store(url)
        push_directory(store, CHECKPOINTS, checkpoint.name, directory=checkpoint, without={CREDIT_FILE})
