package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const templateName = "lab-template"

var namespace = uuid.MustParse("6f0d8a1e-2c55-4d0b-9a58-0f6b8e4c7d21")

func stableUUID(of string) string { return uuid.NewSHA1(namespace, []byte(of)).String() }

// makeTemplate lets the simulator build one VM in its own, slow way (40 ms) and
// takes it out of the inventory again. All VMs of the lab are copies of it.
func (l *lab) makeTemplate() error {
	ctx := l.ctx()
	folder := l.vmFolder()
	host := l.hosts()[0]
	ds := l.reg.Get(host.Datastore[0]).(*simulator.Datastore)
	body := folder.CreateVMTask(ctx, &types.CreateVM_Task{
		This: folder.Self, Pool: l.pool, Host: &host.Self,
		Config: types.VirtualMachineConfigSpec{
			Name: templateName, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherLinux64Guest), Version: "vmx-19",
			NumCPUs: 2, MemoryMB: 4096, Files: &types.VirtualMachineFileInfo{VmPathName: "[" + ds.Name + "]"},
		},
	})
	task, ok := l.reg.Get(body.(*methods.CreateVM_TaskBody).Res.Returnval).(*simulator.Task)
	if !ok {
		return errors.New("the simulator did not make a task for the template VM")
	}
	task.Wait()
	made, ok := task.Info.Result.(ref)
	if !ok {
		return fmt.Errorf("the simulator did not make the template VM: %+v", task.Info.Error)
	}
	vm := l.reg.Get(made).(*simulator.VirtualMachine)
	vm.UnregisterVM(ctx, &types.UnregisterVM{This: made})
	l.template = vm
	return os.RemoveAll(filepath.Join(ds.Summary.Url, templateName))
}

func (l *lab) vmFolder() *simulator.Folder {
	return l.reg.Get(l.reg.Get(l.dc).(*simulator.Datacenter).VmFolder).(*simulator.Folder)
}

// newMachine adds a copy of the template with the given identity and devices.
func (l *lab) newMachine(s vmSpec, devices []types.BaseVirtualDevice) (*simulator.VirtualMachine, error) {
	host, err := l.host(s.Host)
	if err != nil {
		return nil, err
	}
	power, err := powerState(s.Power)
	if err != nil {
		return nil, err
	}
	vm := &simulator.VirtualMachine{VirtualMachine: deepCopy(l.template.VirtualMachine), DataSets: map[string]*simulator.DataSet{}}
	l.reg.NewEntity(vm)
	vm.RecentTask, vm.Summary.Vm = nil, &vm.Self
	identify(vm, s)
	place(vm, host, l.reg.Get(host.Datastore[0]).(*simulator.Datastore))
	vm.Config.Hardware.Device = append(vm.Config.Hardware.Device, devices...)
	relink(vm.Config.Hardware.Device)
	vm.Config.ChangeVersion = l.nextVersion().Val.(string)
	setPower(vm, power)
	l.enlist(vm, host)
	return vm, nil
}

func identify(vm *simulator.VirtualMachine, s vmSpec) {
	if s.UUID == "" {
		s.UUID = stableUUID("bios " + s.Name)
	}
	if s.InstanceUUID == "" {
		s.InstanceUUID = stableUUID("instance " + s.Name)
	}
	vm.Name, vm.Config.Name, vm.Summary.Config.Name = s.Name, s.Name, s.Name
	vm.Config.Uuid, vm.Summary.Config.Uuid = s.UUID, s.UUID
	vm.Config.InstanceUuid, vm.Summary.Config.InstanceUuid = s.InstanceUUID, s.InstanceUUID
	if s.EnableUUID {
		vm.Config.ExtraConfig = append(vm.Config.ExtraConfig, &types.OptionValue{Key: "disk.EnableUUID", Value: "TRUE"})
	}
}

// place sets where the VM runs and where its files are.
func place(vm *simulator.VirtualMachine, host *simulator.HostSystem, ds *simulator.Datastore) {
	self, parent := host.Self, ds.Self
	vm.Runtime.Host, vm.Summary.Runtime.Host = &self, &self
	vm.Datastore = []ref{parent}
	folder := fmt.Sprintf("[%s] %s", ds.Name, vm.Name)
	vmx := folder + "/" + vm.Name + ".vmx"
	vm.Config.Files = types.VirtualMachineFileInfo{VmPathName: vmx, SnapshotDirectory: folder, SuspendDirectory: folder, LogDirectory: folder}
	vm.Summary.Config.VmPathName = vmx
	vm.Layout, vm.LayoutEx = &types.VirtualMachineFileLayout{}, &types.VirtualMachineFileLayoutEx{Timestamp: time.Now()}
	dir := filepath.Join(ds.Summary.Url, vm.Name)
	if os.MkdirAll(dir, 0o700) == nil {
		_ = os.WriteFile(filepath.Join(dir, vm.Name+".vmx"), nil, 0o600)
	}
}

func powerState(s string) (types.VirtualMachinePowerState, error) {
	switch p := types.VirtualMachinePowerState(s); p {
	case types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOff, types.VirtualMachinePowerStateSuspended:
		return p, nil
	}
	return "", fmt.Errorf("power state %q is not known; use poweredOn, poweredOff or suspended", s)
}

// enlist makes the VM known: to its folder, host, resource pool and datastore, and to watchers.
func (l *lab) enlist(vm *simulator.VirtualMachine, host *simulator.HostSystem) {
	ctx, folder := l.ctx(), l.vmFolder()
	vm.Parent, vm.ResourcePool = &folder.Self, &l.pool
	pool := l.reg.Get(l.pool).(*simulator.ResourcePool)
	l.locked(ctx, folder, func() {
		folder.ChildEntity = append(folder.ChildEntity, vm.Self)
		l.locked(ctx, vm, func() { l.reg.Put(vm) })
	})
	l.reg.AppendReference(ctx, host, &host.Vm, vm.Self)
	l.reg.AppendReference(ctx, pool, &pool.Vm, vm.Self)
	for _, r := range vm.Datastore {
		if ds, ok := l.reg.Get(r).(*simulator.Datastore); ok {
			l.reg.AppendReference(ctx, ds, &ds.Vm, vm.Self)
		}
	}
}

// addFiller adds n running VMs with a disk each, so that searches have something to go through.
func (l *lab) addFiller(n int) error {
	hosts := l.hosts()
	for i := 0; i < n; i++ {
		name := fmt.Sprintf("filler-%05d", i)
		host := hosts[i%len(hosts)]
		devices, err := controllersOf(nil)
		if err != nil {
			return err
		}
		ds := l.reg.Get(host.Datastore[0]).(*simulator.Datastore)
		devices = append(devices, newDisk(ds, diskSpec{
			Path: fmt.Sprintf("[%s] %s/%s.vmdk", ds.Name, name, name), UUID: stableUUID(name), CapacityMB: 16384,
			Mode: string(types.VirtualDiskModePersistent),
		}, devices[0].GetVirtualDevice().Key))
		spec := vmSpec{Name: name, Host: host.Name, Power: string(types.VirtualMachinePowerStatePoweredOn)}
		if _, err := l.newMachine(spec, devices); err != nil {
			return err
		}
	}
	return nil
}

var _ mo.Entity = (*simulator.VirtualMachine)(nil)
