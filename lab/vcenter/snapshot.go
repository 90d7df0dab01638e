package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// inSnapshot says whether a snapshot of the VM contains the disk. Independent disks
// and those that were attached later have no file below them.
func (l *lab) inSnapshot(vm *simulator.VirtualMachine, d types.BaseVirtualDevice) bool {
	b := flatBacking(d)
	return vm.Snapshot != nil && b != nil && b.Parent != nil
}

// CreateSnapshotTask keeps the disks' state: each gets a new file on top of the old one.
func (v *labVM) CreateSnapshotTask(ctx *simulator.Context, req *types.CreateSnapshot_Task) soap.HasFault {
	task, f := v.snapshot(ctx, "CreateSnapshot_Task", req.Name, req.Description)
	if f != nil {
		return &methods.CreateSnapshot_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: task}}
}

// CreateSnapshotExTask is the newer form of the same call.
func (v *labVM) CreateSnapshotExTask(ctx *simulator.Context, req *types.CreateSnapshotEx_Task) soap.HasFault {
	task, f := v.snapshot(ctx, "CreateSnapshotEx_Task", req.Name, req.Description)
	if f != nil {
		return &methods.CreateSnapshotEx_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.CreateSnapshotEx_TaskBody{Res: &types.CreateSnapshotEx_TaskResponse{Returnval: task}}
}

// RemoveAllSnapshotsTask merges all files of each disk into the first.
func (v *labVM) RemoveAllSnapshotsTask(ctx *simulator.Context, _ *types.RemoveAllSnapshots_Task) soap.HasFault {
	vm, l := v.VirtualMachine, v.l
	task, f := l.start(ctx, vm, job{
		method: "RemoveAllSnapshots_Task", describe: "removeAllSnapshots", delay: l.delays.get("snapshot"),
		work: func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			l.removeSnapshots(ctx, vm)
			return nil, nil
		},
	})
	if f != nil {
		return &methods.RemoveAllSnapshots_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.RemoveAllSnapshots_TaskBody{Res: &types.RemoveAllSnapshots_TaskResponse{Returnval: task}}
}

func (v *labVM) snapshot(ctx *simulator.Context, method, name, description string) (ref, types.BaseMethodFault) {
	vm, l := v.VirtualMachine, v.l
	return l.start(ctx, vm, job{
		method: method, describe: "createSnapshot", delay: l.delays.get("snapshot"),
		work: func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return l.makeSnapshot(ctx, vm, name, description), nil
		},
	})
}

// makeSnapshot adds a snapshot below the current one. The caller does not hold the VM's lock.
func (l *lab) makeSnapshot(ctx *simulator.Context, vm *simulator.VirtualMachine, name, description string) ref {
	s := &simulator.VirtualMachineSnapshot{DataSets: map[string]*simulator.DataSet{}}
	l.locked(ctx, vm, func() {
		s.Vm, s.Config = vm.Self, deepCopy(*vm.Config)
		l.reg.Put(s)
		info := &types.VirtualMachineSnapshotInfo{}
		if vm.Snapshot != nil {
			info = deepCopy(vm.Snapshot)
		}
		node := types.VirtualMachineSnapshotTree{
			Snapshot: s.Self, Vm: vm.Self, Name: name, Description: description, Id: int32(count(info.RootSnapshotList) + 1),
			CreateTime: time.Now(), State: off, ReplaySupported: types.NewBool(false),
		}
		info.RootSnapshotList = hang(info.RootSnapshotList, info.CurrentSnapshot, node)
		info.CurrentSnapshot = &s.Self
		devices := copyDevices(vm.Config.Hardware.Device)
		for _, d := range devices {
			l.stack(d)
		}
		l.showSnapshots(ctx, vm, info, devices)
	})
	return s.Self
}

func count(tree []types.VirtualMachineSnapshotTree) int {
	n := len(tree)
	for _, t := range tree {
		n += count(t.ChildSnapshotList)
	}
	return n
}

// hang adds the node below the snapshot under, or as a root.
func hang(tree []types.VirtualMachineSnapshotTree, under *ref, node types.VirtualMachineSnapshotTree) []types.VirtualMachineSnapshotTree {
	if under == nil {
		return append(tree, node)
	}
	for i := range tree {
		if tree[i].Snapshot == *under {
			tree[i].ChildSnapshotList = append(tree[i].ChildSnapshotList, node)
			return tree
		}
		tree[i].ChildSnapshotList = hangBelow(tree[i].ChildSnapshotList, under, node)
	}
	return tree
}

func hangBelow(tree []types.VirtualMachineSnapshotTree, under *ref, node types.VirtualMachineSnapshotTree) []types.VirtualMachineSnapshotTree {
	if len(tree) == 0 {
		return tree
	}
	return hang(tree, under, node)
}

// stack puts a new file on top of a disk, unless the disk is independent: data.vmdk, data-000001.vmdk …
func (l *lab) stack(d types.BaseVirtualDevice) {
	b := flatBacking(d)
	if b == nil || isIndependent(d) {
		return
	}
	below := *b
	base := below.FileName
	for p := &below; p != nil; p = p.Parent {
		base = p.FileName
	}
	b.Parent = &below
	kb := d.(*types.VirtualDisk).CapacityInKB
	for n := 1; ; n++ {
		b.FileName = fmt.Sprintf("%s-%06d.vmdk", strings.TrimSuffix(base, ".vmdk"), n)
		err := l.createDiskFile(b.FileName, b.Uuid, kb)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			logf("snapshot: %v", err)
		}
		return
	}
}

// removeSnapshots ends all snapshots of the VM. The caller does not hold the VM's lock.
func (l *lab) removeSnapshots(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	l.locked(ctx, vm, func() {
		if vm.Snapshot == nil {
			return
		}
		old := vm.Snapshot.RootSnapshotList
		devices := copyDevices(vm.Config.Hardware.Device)
		for _, d := range devices {
			l.lower(d, 0, true)
		}
		l.showSnapshots(ctx, vm, nil, devices)
		l.forgetSnapshots(ctx, old)
	})
}

func (l *lab) forgetSnapshots(ctx *simulator.Context, tree []types.VirtualMachineSnapshotTree) {
	for _, t := range tree {
		l.reg.Remove(ctx, t.Snapshot)
		l.forgetSnapshots(ctx, t.ChildSnapshotList)
	}
}

// showSnapshots writes the tree into the VM, leaf by leaf too: watchers of a leaf
// are not told of a change of the whole. The caller holds the VM's lock.
func (l *lab) showSnapshots(ctx *simulator.Context, vm *simulator.VirtualMachine, info *types.VirtualMachineSnapshotInfo, devices []types.BaseVirtualDevice) {
	var roots []ref
	var current, list, whole any
	if info != nil {
		for _, t := range info.RootSnapshotList {
			roots = append(roots, t.Snapshot)
		}
		current, list, whole = *info.CurrentSnapshot, info.RootSnapshotList, *info
	}
	l.update(ctx, vm, []types.PropertyChange{
		{Name: "snapshot.currentSnapshot", Val: current},
		{Name: "snapshot.rootSnapshotList", Val: list},
		{Name: "snapshot", Val: whole},
		{Name: "rootSnapshot", Val: roots},
		{Name: "config.hardware.device", Val: devices},
		l.nextVersion(),
	})
}
