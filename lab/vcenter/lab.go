package main

import (
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const removalTime = 20 * time.Millisecond // the simulator needs microseconds

type ref = types.ManagedObjectReference

// lab is what this program adds to the simulator's own objects.
type lab struct {
	model *simulator.Model
	reg   *simulator.Registry
	pool  ref
	dc    ref
	root  *types.UserSession

	template *simulator.VirtualMachine
	world    sync.Mutex // held while the lab changes an object, so that GET /inventory sees one moment

	vmfs    *vmfs
	changes *changeLog
	ledger  *ledger
	faults  *faultRules
	delays  *delays
	deny    *denials
	disks   *diskFiles
	net     *netFaults
	hook    *hook

	mu      sync.Mutex
	busy    map[ref]ref                            // VM -> its running task
	unseen  map[ref]types.VirtualMachinePowerState // the true state of VMs on lost hosts
	streams map[*labCollector]bool
	views   map[ref]map[*simulator.Registry]bool // VM -> sessions that hold a labVM of it
	version time.Time                            // the newest changeVersion given out
}

func newLab(hookURL string) *lab {
	return &lab{
		vmfs: newVmfs(), changes: newChangeLog(), ledger: newLedger(), faults: &faultRules{}, delays: newDelays(), deny: newDenials(),
		disks: newDiskFiles(), net: newNetFaults(), hook: newHook(hookURL),
		busy: map[ref]ref{}, unseen: map[ref]types.VirtualMachinePowerState{}, views: map[ref]map[*simulator.Registry]bool{}, streams: map[*labCollector]bool{},
		root: &types.UserSession{Key: "lab", UserName: "lab"},
	}
}

// ctx returns a context of the lab's own, for changes that no client asked for.
// Locks are held per context, so every piece of work that may run beside another needs one.
func (l *lab) ctx() *simulator.Context {
	c := *l.model.Service.Context
	c.Session = &simulator.Session{UserSession: *l.root, Registry: simulator.NewRegistry(), Map: l.reg}
	return &c
}

// locked runs f while ctx holds the lock of obj, and gives the lock back even if f panics.
func (l *lab) locked(ctx *simulator.Context, obj mo.Reference, f func()) {
	unlock := l.reg.AcquireLock(ctx, obj)
	defer unlock()
	f()
}

// update changes an object and tells its watchers. The caller holds the object's lock.
func (l *lab) update(ctx *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	l.world.Lock()
	defer l.world.Unlock()
	ctx.Update(obj, changes)
}

// Reference, PutObject, UpdateObject and RemoveObject make the lab a listener of
// the registry: it learns of each change of devices and power in the moment it is made.
func (l *lab) Reference() ref { return ref{Type: "Lab", Value: "lab"} }

func (l *lab) PutObject(_ *simulator.Context, o mo.Reference) {
	l.changes.touch(o.Reference(), o.Reference().Type != "Task")
	vm, ok := o.(*simulator.VirtualMachine)
	if !ok {
		return
	}
	repairEnums(vm)
	if vm.Config != nil {
		l.vmfs.setFiles(vm.Self, vm.Config.Hardware.Device)
	}
	l.vmfs.setRunning(vm.Self, vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn)
}

func (l *lab) UpdateObject(_ *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	vm := o.Reference()
	l.changes.touch(vm, false)
	if vm.Type != "VirtualMachine" {
		return
	}
	for _, c := range changes {
		switch v := c.Val.(type) {
		case types.ArrayOfVirtualDevice:
			if c.Name == "config.hardware.device" {
				l.vmfs.setFiles(vm, v.VirtualDevice)
			}
		case *types.ArrayOfVirtualDevice:
			if c.Name == "config.hardware.device" {
				l.vmfs.setFiles(vm, v.VirtualDevice)
			}
		case types.VirtualMachinePowerState:
			if c.Name == "runtime.powerState" {
				l.vmfs.setRunning(vm, v == types.VirtualMachinePowerStatePoweredOn)
			}
		}
	}
}

// RemoveObject is called before the object is gone, so what depends on its absence is done once more a little later.
func (l *lab) RemoveObject(ctx *simulator.Context, r ref) {
	l.forget(ctx, r)
	time.AfterFunc(removalTime, func() { l.forget(l.ctx(), r) })
}

func (l *lab) forget(ctx *simulator.Context, r ref) {
	defer l.changes.touch(r, true)
	l.vmfs.forget(r)
	l.mu.Lock()
	views := l.views[r]
	delete(l.views, r)
	delete(l.unseen, r)
	l.mu.Unlock()
	for session := range views {
		session.Remove(ctx, r)
	}
}

// repairEnums fills the two enumerations that this simulator sends empty, which
// strict clients refuse (govmomi #4084).
func repairEnums(vm *simulator.VirtualMachine) {
	for _, r := range []*types.VirtualMachineRuntimeInfo{&vm.Runtime, &vm.Summary.Runtime} {
		if r.FaultToleranceState == "" {
			r.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
		}
		if r.RecordReplayState == "" {
			r.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
		}
	}
}

// nextVersion returns a changeVersion later than all before. The caller holds no lock of the lab.
func (l *lab) nextVersion() types.PropertyChange {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	if !now.After(l.version) {
		now = l.version.Add(time.Microsecond)
	}
	l.version = now
	return types.PropertyChange{Name: "config.changeVersion", Val: now.Format("2006-01-02T15:04:05.000000Z")}
}

// vms returns all VMs in the order of their names.
func (l *lab) vms() []*simulator.VirtualMachine {
	var out []*simulator.VirtualMachine
	for _, e := range l.reg.All("VirtualMachine") {
		if vm, ok := e.(*simulator.VirtualMachine); ok {
			out = append(out, vm)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (l *lab) vm(name string) (*simulator.VirtualMachine, error) {
	for _, vm := range l.vms() {
		if vm.Name == name || vm.Self.Value == name {
			return vm, nil
		}
	}
	return nil, fmt.Errorf("no VM is named %q; GET /inventory lists them", name)
}

func (l *lab) hosts() []*simulator.HostSystem {
	var out []*simulator.HostSystem
	for _, e := range l.reg.All("HostSystem") {
		if h, ok := e.(*simulator.HostSystem); ok {
			out = append(out, h)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func (l *lab) host(name string) (*simulator.HostSystem, error) {
	for _, h := range l.hosts() {
		if h.Name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("no host is named %q; GET /inventory lists them", name)
}

func (l *lab) datastore(name string) *simulator.Datastore {
	for _, e := range l.reg.All("Datastore") {
		if d, ok := e.(*simulator.Datastore); ok && d.Name == name {
			return d
		}
	}
	return nil
}

// hostOf returns the host that the VM is on, or nil.
func (l *lab) hostOf(vm *simulator.VirtualMachine) *simulator.HostSystem {
	if vm.Runtime.Host == nil {
		return nil
	}
	h, _ := l.reg.Get(*vm.Runtime.Host).(*simulator.HostSystem)
	return h
}

func (l *lab) connected(vm *simulator.VirtualMachine) bool {
	h := l.hostOf(vm)
	return h != nil && h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected
}
