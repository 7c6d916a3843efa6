"""Shards: plain tar files with an index that says where every byte lies.

Each sample is a run of tar members that share the ``image_id`` as their name, in the fixed
order of `MEMBERS`, so that ``tar`` and every webdataset reader understand them. Our own
reader does not walk the tar: it reads a member by its offset, any sample in any order, and
checks its CRC.

    shards/train-000000.tar ...   same input, same bytes; see `shard_writer`, `codec`
    shards/index.parquet          see `shard_index`
    shards/index.json             written last
    shards/skipped.parquet        images that are not in: image_id, split, shard, reason
"""

from __future__ import annotations

from xraytk.data.codec import CODECS, decode, encode
from xraytk.data.shard_index import FORMAT, INDEX, MEMBERS, SLOT, ShardIndex, ShardInfo, ending
from xraytk.data.shard_reader import FolderStore, ShardReader, Store
from xraytk.data.shard_writer import ShardWriter

__all__ = [
    "CODECS",
    "FORMAT",
    "INDEX",
    "MEMBERS",
    "SLOT",
    "FolderStore",
    "ShardIndex",
    "ShardInfo",
    "ShardReader",
    "ShardWriter",
    "Store",
    "decode",
    "encode",
    "ending",
]
