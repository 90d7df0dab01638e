"""
The masters' claims as folders beside the VMDK on its datastore.

Making a folder is atomic there: vCenter makes it for one master and tells everybody else that it exists. Nothing is ever moved or
deleted. Needs ``Datastore.FileManagement`` and ``Datastore.Browse`` on that datastore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_failover.errors import CannotObserve, FailoverError, StepFailed
from vmdk_failover.model import Disk, Resource
from vmdk_failover.store.shelf import Shelf
from vmdk_failover.vsphere import faults
from vmdk_failover.vsphere.properties import filter_spec, retrieve
from vmdk_failover.vsphere.session import Login, Session

#: Seconds for one act, and between two looks at a search that is under way.
WITHIN, PAUSE = 10.0, 0.05


class DatastoreShelf:
    """
    A shelf beside a VMDK of a resource. If they lie in several folders it is in the first of them that has one, by name, or would
    be in the first of all: masters may list the disks in another order.

    :param session: the login to work with; it stays the caller's to close.
    """

    def __init__(self, session: Session, resource: Resource) -> None:
        self._session, self._resource = session, resource
        self._stores: dict[str, tuple[str, str]] = {}
        found = (self._folder(disk, f"vmdk-claims-{resource.name}") for disk in resource.disks)
        folders = {one.place: one for one in found}
        self._folders = [folders[place] for place in sorted(folders)]

    def _folder(self, disk: Disk, name: str) -> _Folder:
        return _Folder(self._session, self._resource, disk.path, name, self._stores)

    @property
    def place(self) -> str:
        """``[datastore] folder/vmdk-claims-<resource>``"""
        return self._folders[0].place

    def make(self, *names: str) -> bool:
        """See the port (``shelf.py``)."""
        if len(self._folders) > 1:
            self.look()
        return self._folders[0].make(*names)

    def look(self) -> Mapping[str, Sequence[str]]:
        """See the port (``shelf.py``)."""
        for folder in self._folders:
            if (found := folder.look()) is not None:
                self._folders = [folder]
                return found
        return {}

    def mark(self, disk: Disk, claim: str) -> None:
        """See the port (``shelf.py``)."""
        self._folder(disk, _of_disk(disk)).make(claim)

    def marks(self, disk: Disk) -> Sequence[str]:
        """See the port (``shelf.py``)."""
        return list(self._folder(disk, _of_disk(disk)).look(deep=False) or ())

    def beside(self, resource: str) -> Shelf:
        """See the port (``shelf.py``). It is looked for beside the disks of this resource."""
        return DatastoreShelf(self._session, replace(self._resource, name=resource))


def _of_disk(disk: Disk) -> str:
    return f"vmdk-disk-{disk.uuid}"


class _Folder:
    """A folder called ``name`` beside one VMDK. ``known``: managed object ids by datastore, shared by the folders of a shelf."""

    def __init__(
        self, session: Session, resource: Resource, path: str, name: str, known: dict[str, tuple[str, str]]
    ) -> None:
        self._session, self._resource = session, resource
        self._store = path[1 : path.index("]")]
        folder = path[path.index("]") + 1 :].strip().rpartition("/")[0]
        self.place = f"[{self._store}] {folder + '/' if folder else ''}{name}"
        self._known = known

    def make(self, *names: str) -> bool:
        """Make a folder in it, and itself if need be."""
        made = self._make("/".join((self.place, *names)), parents=False)
        if made is None:  # the first claim of all
            self._make(self.place, parents=True)
            made = self._make("/".join((self.place, *names)), parents=False)
        if made is None:
            raise CannotObserve(f"{self.place} cannot be made; look for its datastore")
        return made

    def look(self, deep: bool = True) -> Mapping[str, Sequence[str]] | None:
        """Names of the folders in it, with the names in each if ``deep``; ``None`` if it is not there."""
        found: dict[str, list[str]] = {}
        seen = self._search(deep)
        if seen is None:
            return None
        for one in seen:
            inside = one.folderPath.partition("]")[2].strip().strip("/")
            inside = inside[len(self.place.partition("]")[2].strip()) :].strip("/")
            names = [file.path.strip("/") for file in one.file or ()]
            if not inside:
                found.update({name: found.get(name, []) for name in names})
            elif "/" not in inside:
                found[inside] = names
        return found

    def _make(self, path: str, parents: bool) -> bool | None:
        """Whether it was made now; ``None`` if there is no folder to make it in."""
        _, center = self._where()

        def send(login: Login) -> None:
            login.content.fileManager.MakeDirectory(path, login.ref(vim.Datacenter, center), parents)

        try:
            self._session.write(send, f"making {path}", WITHIN)
        except StepFailed as err:
            if isinstance(err.__cause__, vim.fault.FileAlreadyExists):
                return False
            if isinstance(err.__cause__, vim.fault.FileNotFound) and not parents:
                return None
            raise
        return True

    def _search(self, deep: bool) -> Sequence[Any] | None:
        store, _ = self._where()
        spec = vim.host.DatastoreBrowser.SearchSpec(
            query=[vim.host.DatastoreBrowser.FolderQuery()], matchPattern=["*"]
        )

        def begin(login: Login) -> str:
            paths = {vim.Datastore: ("browser",)}
            browser = retrieve(login, filter_spec([login.ref(vim.Datastore, store)], paths))[store].get(
                "browser"
            )
            search = browser.SearchDatastoreSubFolders_Task if deep else browser.SearchDatastore_Task
            task: str = search(self.place, spec)._GetMoId()
            return task

        until = self._session.clock() + WITHIN
        task = self._session.read(begin, WITHIN)
        while True:
            seen = self._poll(task, until)
            if seen.get("info.state") == "success":
                found = seen.get("info.result") or ()
                return found if deep else [found]
            if seen.get("info.state") == "error":
                fault = seen.get("info.error")
                if isinstance(fault, vim.fault.FileNotFound):
                    return None
                raise CannotObserve(f"{self.place} cannot be read: {faults.sentence_of(fault)}")
            if self._session.clock() + PAUSE >= until:
                raise CannotObserve(
                    f"{self.place} cannot be read: the search is not over within {WITHIN:.0f} s"
                )
            self._session.sleep(PAUSE)

    def _poll(self, task: str, until: float) -> Any:
        paths = {vim.Task: ("info.state", "info.error", "info.result")}

        def ask(login: Login) -> Any:
            return retrieve(login, filter_spec([login.ref(vim.Task, task)], paths)).get(task, {})

        try:
            return self._session.read(ask, max(0.1, until - self._session.clock()))
        except vmodl.fault.ManagedObjectNotFound as err:
            raise CannotObserve(
                f"{self.place} cannot be read: vCenter forgot the search; look again"
            ) from err

    def _where(self) -> tuple[str, str]:
        """Managed object ids of the datastore and of its datacenter; that of the nodes' VMs."""
        if self._store not in self._known:
            try:
                self._known[self._store] = self._session.read(self._find)
            except vmodl.fault.ManagedObjectNotFound as err:
                raise CannotObserve(
                    f"the datacenter of {self.place} went away meanwhile; look again"
                ) from err
        return self._known[self._store]

    def _find(self, login: Login) -> tuple[str, str]:
        for node in self._resource.nodes:
            for vm in login.content.searchIndex.FindAllByUuid(None, node.vm_uuid, True, True) or ():
                center = _datacenter(login, vm)
                paths = {vim.Datacenter: ("datastore",), vim.Datastore: ("name",)}
                stores = (
                    retrieve(login, filter_spec([center], paths))[center._GetMoId()].get("datastore") or ()
                )
                named = retrieve(login, filter_spec(list(stores), paths)) if stores else {}
                for ref, read in named.items():
                    if read.get("name") == self._store:
                        return ref, center._GetMoId()
        raise CannotObserve(
            f"the datastore of {self.place} is not to be seen in the datacenter of any node of {self._resource.name}"
        )


def _datacenter(login: Login, vm: Any) -> Any:
    read = retrieve(login, filter_spec([vm], {vim.VirtualMachine: ("runtime.host",)}))
    here = read[vm._GetMoId()].get("runtime.host")
    while here is not None and not isinstance(here, vim.Datacenter):
        here = retrieve(login, filter_spec([here], {type(here): ("parent",)}))[here._GetMoId()].get("parent")
    if here is None:
        raise FailoverError(
            f"vCenter shows no datacenter of {vm._GetMoId()}; check the account's rights", "unreadable"
        )
    return here
