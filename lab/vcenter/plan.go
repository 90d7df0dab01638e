package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	opAdd    = types.VirtualDeviceConfigSpecOperationAdd
	opEdit   = types.VirtualDeviceConfigSpecOperationEdit
	opRemove = types.VirtualDeviceConfigSpecOperationRemove
)

// plan is what a reconfigure would make of a VM. It is made on copies: a spec
// that is refused at its last change has changed nothing.
type plan struct {
	l       *lab
	vm      *simulator.VirtualMachine
	devices []types.BaseVirtualDevice
	steps   []step           // disk changes in the order of the spec, for the hook
	opens   openFiles        // files that the VM opens by it
	creates map[string]int64 // files to make, with their size in KB
	deletes []string
}

// planFor judges the spec against the VM as it is now. The caller holds the VM's lock.
func (l *lab) planFor(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) (*plan, types.BaseMethodFault) {
	if spec.ChangeVersion != "" && spec.ChangeVersion != vm.Config.ChangeVersion {
		return nil, new(types.ConcurrentAccess)
	}
	if name := unsupported(spec); name != "" {
		return nil, say(new(types.NotSupported), "msg.lab.spec", "The lab does not change %s; only devices, extraConfig and annotation.", name)
	}
	if vm.Runtime.PowerState == types.VirtualMachinePowerStateSuspended && len(spec.DeviceChange) > 0 {
		return nil, wrongPower(types.VirtualMachinePowerStatePoweredOn, vm.Runtime.PowerState)
	}
	p := &plan{l: l, vm: vm, devices: copyDevices(vm.Config.Hardware.Device), opens: openFiles{}, creates: map[string]int64{}}
	changes := deepCopy(spec.DeviceChange)
	for i, c := range changes {
		s := c.GetVirtualDeviceConfigSpec()
		if s.Device == nil {
			return nil, deviceFault(i, "device", "The device is missing.")
		}
		old := s.Device.GetVirtualDevice().Key
		if f := p.apply(i, s); f != nil {
			return nil, f
		}
		if now := s.Device.GetVirtualDevice().Key; s.Operation == opAdd && now != old {
			renumber(changes[i+1:], old, now)
		}
	}
	relink(p.devices)
	return p, nil
}

// unsupported names the first member of the spec that the lab would have to ignore.
func unsupported(spec *types.VirtualMachineConfigSpec) string {
	rest := *spec
	rest.ChangeVersion, rest.DeviceChange, rest.ExtraConfig, rest.Annotation = "", nil, nil, ""
	v := reflect.ValueOf(rest)
	for i := 0; i < v.NumField(); i++ {
		if !v.Field(i).IsZero() {
			name := v.Type().Field(i).Name
			return strings.ToLower(name[:1]) + name[1:]
		}
	}
	return ""
}

// renumber lets later changes refer to a new device by the temporary key that the client gave it.
func renumber(changes []types.BaseVirtualDeviceConfigSpec, old, now int32) {
	if old > 0 {
		return
	}
	for _, c := range changes {
		if d := c.GetVirtualDeviceConfigSpec().Device; d != nil && d.GetVirtualDevice().ControllerKey == old {
			d.GetVirtualDevice().ControllerKey = now
		}
	}
}

func (p *plan) apply(i int, s *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	disk, isDisk := s.Device.(*types.VirtualDisk)
	ctrl, isCtrl := s.Device.(types.BaseVirtualController)
	switch {
	case isDisk && s.Operation == opAdd:
		return p.addDisk(i, s, disk)
	case isDisk && s.Operation == opRemove:
		return p.removeDisk(i, s, disk)
	case isDisk && s.Operation == opEdit:
		return p.editDisk(i, disk)
	case isCtrl && s.Operation == opAdd:
		return p.addController(i, ctrl, s.Device)
	case isCtrl && s.Operation == opRemove:
		return p.removeController(i, s.Device)
	}
	return say(&types.NotSupported{}, "msg.lab.device", "The lab can add, edit and remove disks, and add and remove disk controllers only.")
}

func (p *plan) running() bool {
	return p.vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
}

func (p *plan) addDisk(i int, s *types.VirtualDeviceConfigSpec, d *types.VirtualDisk) types.BaseMethodFault {
	b := flatBacking(d)
	if b == nil {
		return deviceFault(i, "device.backing", "The disk has no flat file backing.")
	}
	if !diskModes[b.DiskMode] {
		return deviceFault(i, "device.backing.diskMode", "Disk mode '%s' is not known.", b.DiskMode)
	}
	c, f := p.seat(i, d)
	if f != nil {
		return f
	}
	if f := p.backing(s, d, b); f != nil {
		return f
	}
	for _, other := range p.devices {
		for _, file := range chainOf(other) {
			if file == b.FileName {
				return lockFault(slot(c, d), b.FileName)
			}
		}
	}
	d.Key = p.freeKey(2000+c.GetVirtualController().BusNumber*16+*d.UnitNumber, d.Key)
	label(d, p.freeLabel(), fmt.Sprintf("%d KB", d.CapacityInKB))
	p.devices = append(p.devices, d)
	if p.running() {
		p.opens[b.FileName] = isMultiWriter(d)
	}
	p.steps = append(p.steps, p.step("attach", c, d))
	return nil
}

// backing checks the file that is to be attached, or plans to make it, and fills in what the file knows.
func (p *plan) backing(s *types.VirtualDeviceConfigSpec, d *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	file, ds, f := p.l.realPath(b.FileName)
	if f != nil {
		return f
	}
	_, err := os.Stat(file)
	switch {
	case s.FileOperation == "" && err != nil:
		return &types.FileNotFound{FileFault: types.FileFault{File: b.FileName}}
	case s.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate && err == nil:
		return &types.FileAlreadyExists{FileFault: types.FileFault{File: b.FileName}}
	case s.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate:
		p.creates[b.FileName] = d.CapacityInKB
		if b.Uuid == "" {
			b.Uuid = stableUUID(b.FileName)
		}
	case s.FileOperation != "":
		return say(&types.NotSupported{}, "msg.lab.file", "The lab knows the file operations create and destroy only.")
	default:
		known := p.l.diskFileOf(b.FileName)
		b.Uuid, d.CapacityInKB = known.uuid, known.kb
	}
	parent, no := ds.Self, false
	b.Datastore, d.CapacityInBytes = &parent, d.CapacityInKB*1024
	for _, flag := range []**bool{&b.EagerlyScrub, &b.ThinProvisioned, &b.WriteThrough, &b.Split, &b.DigestEnabled} {
		if *flag == nil {
			*flag = &no
		}
	}
	return nil
}

func (p *plan) removeDisk(i int, s *types.VirtualDeviceConfigSpec, d *types.VirtualDisk) types.BaseMethodFault {
	have, ok := find(p.devices, d.Key).(*types.VirtualDisk)
	if !ok {
		return deviceFault(i, "device.key", "The VM has no disk with key %d.", d.Key)
	}
	if s.FileOperation == "" && p.l.inSnapshot(p.vm, have) {
		return deviceFault(i, "device", "Cannot remove virtual disk '%s' from the virtual machine because it or one of its parent disks is part of a snapshot of the virtual machine.", fileOf(have))
	}
	if s.FileOperation == types.VirtualDeviceConfigSpecFileOperationDestroy {
		if _, locked := p.l.vmfs.lockedBy(p.vm.Self, fileOf(have)); locked {
			return &types.FileLocked{FileFault: types.FileFault{File: fileOf(have)}}
		}
		p.deletes = append(p.deletes, chainOf(have)...)
	}
	p.steps = append(p.steps, p.step("detach", controller(p.devices, have.ControllerKey), have))
	p.devices = without(p.devices, d.Key)
	return nil
}

// editDisk changes mode, sharing, size or place of a disk.
func (p *plan) editDisk(i int, d *types.VirtualDisk) types.BaseMethodFault {
	have, ok := find(p.devices, d.Key).(*types.VirtualDisk)
	if !ok {
		return deviceFault(i, "device.key", "The VM has no disk with key %d.", d.Key)
	}
	b, now := flatBacking(d), flatBacking(have)
	if b == nil || now == nil || !diskModes[b.DiskMode] || b.FileName != now.FileName {
		return deviceFault(i, "device.backing", "The backing of the disk cannot become this one.")
	}
	moved := d.ControllerKey != have.ControllerKey || d.UnitNumber == nil || *d.UnitNumber != *have.UnitNumber
	if p.running() && (moved || b.DiskMode != now.DiskMode || b.Sharing != now.Sharing) {
		return wrongPower(types.VirtualMachinePowerStatePoweredOff, p.vm.Runtime.PowerState)
	}
	p.devices = without(p.devices, d.Key)
	if _, f := p.seat(i, d); f != nil {
		return f
	}
	now.DiskMode, now.Sharing = b.DiskMode, b.Sharing
	have.ControllerKey, have.UnitNumber = d.ControllerKey, d.UnitNumber
	if d.CapacityInKB > have.CapacityInKB {
		have.CapacityInKB, have.CapacityInBytes = d.CapacityInKB, d.CapacityInKB*1024
		p.l.disks.put(now.FileName, diskFile{now.Uuid, d.CapacityInKB})
	}
	p.devices = append(p.devices, have)
	return nil
}
