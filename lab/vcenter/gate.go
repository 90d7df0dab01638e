package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// changesVM are the calls on a VM that need its host; those of them that the lab
// does not run as its own tasks are refused here while one of the lab's runs.
var changesVM = map[string]bool{
	"ReconfigVM_Task": true, "PowerOnVM_Task": true, "PowerOffVM_Task": true, "ResetVM_Task": true, "SuspendVM_Task": true,
	"ShutdownGuest": true, "RebootGuest": true, "StandbyGuest": true, "TerminateVM": true,
	"CreateSnapshot_Task": true, "CreateSnapshotEx_Task": true, "RemoveAllSnapshots_Task": true, "RevertToCurrentSnapshot_Task": true,
	"RelocateVM_Task": true, "MigrateVM_Task": true, "CloneVM_Task": true, "Destroy_Task": true, "UpgradeVM_Task": true,
}

// ownTasks run by the lab itself; rules with "where": "task" apply to them.
var ownTasks = map[string]bool{
	"ReconfigVM_Task": true, "PowerOnVM_Task": true, "PowerOffVM_Task": true, "ResetVM_Task": true, "SuspendVM_Task": true,
	"CreateSnapshot_Task": true, "CreateSnapshotEx_Task": true, "RemoveAllSnapshots_Task": true,
	"RevertToCurrentSnapshot_Task": true, "RevertToSnapshot_Task": true, "RemoveSnapshot_Task": true,
}

// gate sees every call before the simulator does; a fault that it returns is what the client gets.
func (l *lab) gate(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	l.ledger.called(m.Name)
	if ctx.Session == nil {
		return nil, l.anonymous(m)
	}
	vm, _ := l.reg.Get(m.This).(*simulator.VirtualMachine)
	name := ""
	if vm != nil {
		name = vm.Name
	}
	if f := l.faults.take(m.Name, name, "call"); f != nil {
		return nil, f
	}
	if f := l.deny.check(ctx.Session.UserName, m); f != nil {
		return nil, f
	}
	if f := l.fileGate(m); f != nil {
		return nil, f
	}
	if m.Name == "CancelTask" && l.runs(m.This) {
		return nil, new(types.NotSupported) // as of a vCenter: these cannot be stopped
	}
	if vm != nil && changesVM[m.Name] {
		if f := l.vmGate(vm, m.Name); f != nil {
			return nil, f
		}
	}
	l.wrap(ctx, m.This, vm)
	return nil, nil
}

// anonymous refuses reads without a session as a vCenter does. The simulator would
// answer them with every property missing.
func (l *lab) anonymous(m *simulator.Method) types.BaseMethodFault {
	switch m.Name {
	case "RetrieveProperties", "RetrievePropertiesEx":
		return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &m.This, PrivilegeId: "System.View"}}
	}
	return nil
}

func (l *lab) vmGate(vm *simulator.VirtualMachine, method string) types.BaseMethodFault {
	if !l.connected(vm) {
		return new(types.HostNotConnected)
	}
	if vm.Runtime.ConnectionState != types.VirtualMachineConnectionStateConnected {
		return new(types.InvalidState) // its configuration is not available
	}
	if task, busy := l.running(vm.Self); busy {
		return &types.TaskInProgress{Task: task}
	}
	if method == "Destroy_Task" {
		return l.destroyGate(vm)
	}
	return nil
}

// destroyGate refuses to delete a VM together with a disk that a running VM has open.
func (l *lab) destroyGate(vm *simulator.VirtualMachine) types.BaseMethodFault {
	for file := range l.vmfs.filesOf(vm.Self) {
		if _, locked := l.vmfs.lockedBy(vm.Self, file); locked {
			return &types.FileLocked{FileFault: types.FileFault{File: file}}
		}
	}
	return nil
}

// fileGate refuses to delete or move a file that a running VM has open, and keeps the books of the others.
func (l *lab) fileGate(m *simulator.Method) types.BaseMethodFault {
	var path, to string
	switch r := m.Body.(type) {
	case *types.CreateVirtualDisk_Task:
		l.disks.drop(r.Name)
		return nil
	case *types.DeleteVirtualDisk_Task:
		path = r.Name
	case *types.DeleteDatastoreFile_Task:
		path = r.Name
	case *types.MoveVirtualDisk_Task:
		path, to = r.SourceName, r.DestName
	case *types.MoveDatastoreFile_Task:
		path, to = r.SourceName, r.DestinationName
	default:
		return nil
	}
	if _, locked := l.vmfs.lockedBy(ref{}, path); locked {
		return &types.FileLocked{FileFault: types.FileFault{File: path}}
	}
	if to != "" {
		l.disks.put(to, l.diskFileOf(path))
	}
	return nil
}

// wrap puts the lab's view of a VM or of the disk service into the client's session: a handler
// that the gate returned would be overridden by what the session finds (govmomi v0.56.0), and
// wrappers in the main registry would break the simulator's own type checks.
func (l *lab) wrap(ctx *simulator.Context, this ref, vm *simulator.VirtualMachine) {
	session := ctx.Session.Registry
	switch this.Type {
	case "VirtualMachine":
		if vm != nil && session.Get(this) == nil {
			l.locked(ctx, vm, func() { l.view(session, vm) })
		}
	case "VirtualMachineSnapshot":
		if s, ok := l.reg.Get(this).(*simulator.VirtualMachineSnapshot); ok && session.Get(this) == nil {
			session.Put(&labSnapshot{s, l})
			l.remember(session, this)
		}
	case "PropertyCollector":
		if session.Get(this) == nil && l.reg.Get(this) != nil { // the one that every session starts with
			c := l.newCollector()
			c.Self = this
			session.Put(c)
		}
	case "AuthorizationManager":
		if m, ok := l.reg.Get(this).(*simulator.AuthorizationManager); ok && session.Get(this) == nil {
			session.Put(&labAuthorization{m, l, ctx.Session.UserName})
		}
	case "VirtualDiskManager":
		if m, ok := l.reg.Get(this).(*simulator.VirtualDiskManager); ok && session.Get(this) == nil {
			session.Put(&labDisks{m, l})
		}
	}
}

// view gives the session its labVM. The caller holds the VM's lock.
func (l *lab) view(session *simulator.Registry, vm *simulator.VirtualMachine) {
	if l.reg.Get(vm.Self) == nil {
		return // deleted in this moment
	}
	session.Put(&labVM{vm, l})
	l.remember(session, vm.Self)
}

// remember notes that the session holds a view of the object, which must go with the object.
func (l *lab) remember(session *simulator.Registry, this ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.views[this] == nil {
		l.views[this] = map[*simulator.Registry]bool{}
	}
	l.views[this][session] = true
}
