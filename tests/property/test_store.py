"""Any order of pulling, tagging, running, removing and collecting leaves the store whole.

A model says what must be there; the store may keep more until garbage is collected, and nothing more
after it. Interrupted ingests, cut anywhere, always resume to the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from pycontainer.errors import AlreadyExists, InUse, NotFound
from pycontainer.launcher import Helper
from pycontainer.oci import Descriptor, Digest
from pycontainer.store import ContainerRecord, ImageLayer, ImageRecord, LayerRecord, SnapshotKey, Store
from pycontainer.store.content import ContentStore
from pycontainer.store.layout import Layout

NAMES = st.sampled_from(["one", "two", "three"])
_helper = Helper()  # started when first asked, ends with this process
LAYERS = st.lists(st.sampled_from("abcd"), max_size=3, unique=True)


def _digest(text: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


def _tag(name: str) -> str:
    return f"docker.io/library/{name}:latest"


class StoreMachine(RuleBasedStateMachine):
    """The store beside a model of its images, tags and containers."""

    containers: Bundle[str] = Bundle("containers")

    @initialize()
    def open(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="store-property-"))
        self.store = Store(self.root / "store", _helper)
        self.images: dict[str, ImageRecord] = {}
        self.tags: dict[str, str] = {}
        self.users: dict[str, ContainerRecord] = {}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.root)

    @rule(name=NAMES, layers=LAYERS)
    def pull(self, name: str, layers: list[str]) -> None:
        content, snapshots = self.store.content, self.store.snapshots
        with self.store.lease("pull") as lease:
            config = content.put(f"config {layers}".encode())
            manifest = content.put(f"manifest {layers}".encode())
            made = []
            for layer in layers:
                key = SnapshotKey(_digest(layer)[7:])
                lease.protect_snapshot(key)
                if not snapshots.has(key):
                    prepared = snapshots.prepare(key)
                    self.store.state.layers.put(
                        LayerRecord(key=key, diff_id=_digest(layer), size=1, entries=1)
                    )
                    snapshots.commit(prepared)
                blob = content.put(layer.encode())
                made.append(ImageLayer(digest=blob, diff_id=_digest(layer), snapshot=key))
            record = ImageRecord(
                id=config,
                manifest_digest=manifest,
                target_digest=manifest,
                platform="linux/amd64",
                size=1,
                created_at=1.0,
                layers=tuple(made),
            )
            self.images[config] = self.store.state.images.put(record, [_tag(name)])
        self.tags[name] = config

    @rule(target=containers, name=NAMES, container=st.sampled_from(["box", "crate"]))
    def create(self, name: str, container: str) -> str:
        image_id = self.tags.get(name)
        if image_id is None:
            return container
        record = ContainerRecord(
            id=_digest(container)[7:],
            name=container,
            image_id=image_id,
            image_ref=name,
            created_at=1.0,
            snapshots=self.images[image_id].snapshots,
        )
        try:
            self.store.add_container(record)
        except AlreadyExists:
            assert container in self.users
        else:
            assert container not in self.users
            self.users[container] = record
        return container

    @rule(container=containers)
    def remove_container(self, container: str) -> None:
        was_there = self.store.remove_container(_digest(container)[7:])
        assert was_there == (self.users.pop(container, None) is not None)

    @rule(name=NAMES, force=st.booleans())
    def remove_image(self, name: str, force: bool) -> None:
        image_id = self.tags.get(name)
        is_last = list(self.tags.values()).count(image_id or "") == 1
        is_used = any(user.image_id == image_id for user in self.users.values())
        try:
            removed = self.store.remove_image(name, force=force)
        except NotFound:
            assert image_id is None
        except InUse:
            assert is_last
            assert is_used
            assert not force
        else:
            is_gone = is_last and not is_used
            assert (removed.deleted == image_id) == is_gone
            del self.tags[name]
            if is_gone:
                del self.images[image_id or ""]

    @rule(source=NAMES, name=NAMES)
    def tag(self, source: str, name: str) -> None:
        if source in self.tags:
            image = self.store.find_image(source)
            self.store.state.images.tag(_tag(name), image.id, image.target_digest)
            self.tags[name] = self.tags[source]

    @rule()
    def collect(self) -> None:
        self.store.content.put(b"garbage")
        self.store.collect_garbage()
        assert set(self.store.content.digests()) == {
            each for image in self.images.values() for each in image.digests
        }
        assert set(self.store.snapshots.committed()) == self._needed()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.root / "store", _helper)
        repaired = self.store.repaired
        assert not any((repaired.preparations, repaired.orphans, repaired.forgotten, repaired.missing))

    def _needed(self) -> set[SnapshotKey]:
        owners = [*self.images.values(), *self.users.values()]
        return {key for owner in owners for key in owner.snapshots}

    @invariant()
    def everything_needed_is_there(self) -> None:
        if not hasattr(self, "store"):
            return
        assert {image.id for image in self.store.state.images.list()} == set(self.images)
        assert {tag.name for tag in self.store.state.images.tags()} == {_tag(name) for name in self.tags}
        assert self._needed() <= set(self.store.snapshots.committed())
        for image in self.images.values():
            assert image.digests <= set(self.store.content.digests())


StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestAnyOrder = StoreMachine.TestCase


@settings(max_examples=50)
@given(
    data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=6), chunk=st.integers(1, 300)
)
def test_an_ingest_cut_anywhere_resumes_to_the_same_bytes(data: bytes, cuts: list[int], chunk: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        layout = Layout(Path(directory) / "store")
        layout.create()
        content = ContentStore(layout)
        descriptor = Descriptor.of(data, "x")
        reached = 0
        for cut in [*cuts, len(data)]:
            with content.ingest(descriptor) as ingest:
                assert ingest is not None
                assert ingest.offset == reached
                while ingest.offset < min(cut, len(data)):
                    ingest.write(data[ingest.offset : ingest.offset + chunk])
                reached = ingest.offset
        with content.ingest(descriptor) as ingest:
            assert ingest is not None
            ingest.commit()
        assert content.read(descriptor, 2000) == data
