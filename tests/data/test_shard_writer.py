"""The tar of a shard: standard, and decided by its content alone."""

from __future__ import annotations

import io
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytk.data import shards

MEMBERS = st.dictionaries(st.sampled_from(shards.MEMBERS), st.binary(max_size=1500), min_size=1)


def test_the_tar_is_standard_and_offsets_point_at_the_content():
    stream = io.BytesIO()
    writer = shards.ShardWriter(stream, "tiff")
    place = writer.add("ab12", {"meta": b"{}", "image": b"x" * 600})
    sha256 = writer.close()
    data = stream.getvalue()
    assert place["image_offset"] == 512  # after one header block
    assert place["image_length"] == 600
    assert place["image_crc32"] == zlib.crc32(b"x" * 600)
    assert place["meta_offset"] == 512 + 1024 + 512  # the image fills two blocks
    assert (place["en_offset"], place["en_length"], place["en_crc32"]) == (None, None, None)
    assert len(data) == writer.bytes
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["ab12.tif", "ab12.json"]
        assert tar.extractfile("ab12.json").read() == b"{}"
    again = shards.ShardWriter(io.BytesIO(), "tiff")
    again.add("ab12", {"image": b"x" * 600, "meta": b"{}"})
    assert again.close() == sha256


@given(st.lists(MEMBERS, min_size=1, max_size=4))
def test_python_reads_every_member_where_the_index_says_it_is(samples):
    stream = io.BytesIO()
    writer = shards.ShardWriter(stream, "jpeg")
    places = [writer.add(f"id-{i}", members) for i, members in enumerate(samples)]
    writer.close()
    data = stream.getvalue()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getnames()) == sum(map(len, samples))
        for i, (members, place) in enumerate(zip(samples, places, strict=True)):
            for name in shards.MEMBERS:
                if name not in members:
                    assert place[f"{name}_offset"] is None
                    continue
                start, length = place[f"{name}_offset"], place[f"{name}_length"]
                assert data[start : start + length] == members[name]
                assert tar.extractfile(f"id-{i}.{shards.ending(name, 'jpeg')}").read() == members[name]


@pytest.mark.parametrize("image_id", ["1.2.840", "", "a/b", "a" * 65, "a b", "é"])
def test_an_id_that_readers_would_split_is_refused_without_being_shown(image_id):
    with pytest.raises(ValueError, match="image_id") as caught:
        shards.ShardWriter(io.BytesIO(), "tiff").add(image_id, {"meta": b"{}"})
    assert not image_id or image_id not in str(caught.value).replace("an image_id holds", "")
