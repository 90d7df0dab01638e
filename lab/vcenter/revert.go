package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// labSnapshot is a snapshot whose removal and revert change the VM's disks.
type labSnapshot struct {
	*simulator.VirtualMachineSnapshot
	l *lab
}

func (s *labSnapshot) owner() (*simulator.VirtualMachine, types.BaseMethodFault) {
	vm, ok := s.l.reg.Get(s.Vm).(*simulator.VirtualMachine)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: s.Vm}
	}
	if !s.l.connected(vm) {
		return nil, new(types.HostNotConnected)
	}
	return vm, nil
}

// RevertToSnapshotTask gives the VM the devices of the snapshot back.
func (s *labSnapshot) RevertToSnapshotTask(ctx *simulator.Context, _ *types.RevertToSnapshot_Task) soap.HasFault {
	vm, f := s.owner()
	var task ref
	if f == nil {
		task, f = s.l.revert(ctx, vm, "RevertToSnapshot_Task", s.VirtualMachineSnapshot)
	}
	if f != nil {
		return &methods.RevertToSnapshot_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.RevertToSnapshot_TaskBody{Res: &types.RevertToSnapshot_TaskResponse{Returnval: task}}
}

// RemoveSnapshotTask merges a snapshot into what lies below it.
func (s *labSnapshot) RemoveSnapshotTask(ctx *simulator.Context, req *types.RemoveSnapshot_Task) soap.HasFault {
	vm, f := s.owner()
	var task ref
	if f == nil {
		task, f = s.l.start(ctx, vm, job{
			method: "RemoveSnapshot_Task", describe: "removeSnapshot", delay: s.l.delays.get("snapshot"),
			work: func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
				s.l.removeSnapshot(ctx, vm, s.Self, req.RemoveChildren)
				return nil, nil
			},
		})
	}
	if f != nil {
		return &methods.RemoveSnapshot_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task}}
}

// RevertToCurrentSnapshotTask gives the VM the devices of its current snapshot back.
func (v *labVM) RevertToCurrentSnapshotTask(ctx *simulator.Context, _ *types.RevertToCurrentSnapshot_Task) soap.HasFault {
	var f types.BaseMethodFault = new(types.NotFound)
	var task ref
	if v.Snapshot != nil && v.Snapshot.CurrentSnapshot != nil {
		if s, ok := v.l.reg.Get(*v.Snapshot.CurrentSnapshot).(*simulator.VirtualMachineSnapshot); ok {
			task, f = v.l.revert(ctx, v.VirtualMachine, "RevertToCurrentSnapshot_Task", s)
		}
	}
	if f != nil {
		return &methods.RevertToCurrentSnapshot_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.RevertToCurrentSnapshot_TaskBody{Res: &types.RevertToCurrentSnapshot_TaskResponse{Returnval: task}}
}

// revert starts the task. The VM ends up off, as after a snapshot without memory; the hook hears of the power and of each disk.
func (l *lab) revert(ctx *simulator.Context, vm *simulator.VirtualMachine, method string, s *simulator.VirtualMachineSnapshot) (ref, types.BaseMethodFault) {
	return l.start(ctx, vm, job{
		method: method, describe: "revertToSnapshot", delay: l.delays.get("snapshot"),
		work: func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, l.goBack(ctx, vm, s)
		},
	})
}

func (l *lab) goBack(ctx *simulator.Context, vm *simulator.VirtualMachine, s *simulator.VirtualMachineSnapshot) types.BaseMethodFault {
	then := copyDevices(s.Config.Hardware.Device)
	var steps []step
	l.locked(ctx, vm, func() {
		if vm.Runtime.PowerState == on {
			steps = append(steps, step{Op: "poweroff", VM: vm.Name})
		}
		steps = append(steps, difference(vm, "detach", vm.Config.Hardware.Device, then)...)
		steps = append(steps, difference(vm, "attach", then, vm.Config.Hardware.Device)...)
	})
	if f := l.hook.follow(steps); f != nil {
		return f
	}
	l.locked(ctx, vm, func() {
		if vm.Runtime.PowerState != off {
			l.showPower(ctx, vm, off)
		}
		for _, d := range then {
			l.stack(d)
		}
		info := deepCopy(vm.Snapshot)
		self := s.Self
		info.CurrentSnapshot = &self
		l.showSnapshots(ctx, vm, info, then)
	})
	return nil
}

// difference returns a step for each disk that is in one device list and, by its lowest file, not in the other.
func difference(vm *simulator.VirtualMachine, op string, in, notIn []types.BaseVirtualDevice) []step {
	other := map[string]bool{}
	for _, d := range disksOf(notIn) {
		other[baseOf(d)] = true
	}
	var out []step
	for _, d := range disksOf(in) {
		if !other[baseOf(d)] {
			p := plan{vm: vm}
			out = append(out, p.step(op, controller(in, d.ControllerKey), d))
		}
	}
	return out
}

func baseOf(d types.BaseVirtualDevice) string {
	chain := chainOf(d)
	if len(chain) == 0 {
		return ""
	}
	return chain[len(chain)-1]
}

// removeSnapshot takes one snapshot out of the tree. The caller does not hold the VM's lock.
func (l *lab) removeSnapshot(ctx *simulator.Context, vm *simulator.VirtualMachine, this ref, children bool) {
	l.locked(ctx, vm, func() {
		if vm.Snapshot == nil {
			return
		}
		info := deepCopy(vm.Snapshot)
		gone, parent := prune(&info.RootSnapshotList, this, nil, children)
		if len(info.RootSnapshotList) == 0 {
			info = nil
		} else if _, current := contains(gone, *info.CurrentSnapshot); current {
			info.CurrentSnapshot = parent
		}
		devices := copyDevices(vm.Config.Hardware.Device)
		for _, d := range devices {
			l.lower(d, len(gone), info == nil)
		}
		l.showSnapshots(ctx, vm, info, devices)
		for _, r := range gone {
			l.reg.Remove(ctx, r)
		}
	})
}

func contains(list []ref, r ref) (int, bool) {
	for i, x := range list {
		if x == r {
			return i, true
		}
	}
	return 0, false
}

// prune takes the snapshot out of the tree and returns what is gone and its parent; without children, those move up.
func prune(tree *[]types.VirtualMachineSnapshotTree, this ref, parent *ref, children bool) ([]ref, *ref) {
	for i, t := range *tree {
		if t.Snapshot == this {
			rest := append((*tree)[:i:i], (*tree)[i+1:]...)
			if children {
				*tree = rest
				return all(t), parent
			}
			*tree = append(rest, t.ChildSnapshotList...)
			return []ref{this}, parent
		}
		if gone, p := prune(&(*tree)[i].ChildSnapshotList, this, &t.Snapshot, children); gone != nil {
			return gone, p
		}
	}
	return nil, nil
}

func all(t types.VirtualMachineSnapshotTree) []ref {
	out := []ref{t.Snapshot}
	for _, c := range t.ChildSnapshotList {
		out = append(out, all(c)...)
	}
	return out
}

// lower merges n of a disk's files into those below, or all.
func (l *lab) lower(d types.BaseVirtualDevice, n int, whole bool) {
	b := flatBacking(d)
	for ; b != nil && b.Parent != nil && (whole || n > 0); n-- {
		l.deleteDiskFile(b.FileName)
		*b = *b.Parent
	}
}
