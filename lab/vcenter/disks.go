package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vmdk"
)

// diskFile is what a VMDK carries in itself.
type diskFile struct {
	uuid string
	kb   int64
}

// diskFiles are the VMDKs that the lab made, by datastore path.
type diskFiles struct {
	mu sync.Mutex
	by map[string]diskFile
}

func newDiskFiles() *diskFiles { return &diskFiles{by: map[string]diskFile{}} }

func (d *diskFiles) get(path string) (diskFile, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, ok := d.by[path]
	return f, ok
}

func (d *diskFiles) put(path string, f diskFile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by[path] = f
}

func (d *diskFiles) drop(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, path)
}

var diskModes = map[string]bool{
	"persistent": true, "nonpersistent": true, "undoable": true, "append": true,
	"independent_persistent": true, "independent_nonpersistent": true,
}

// realPath returns the file of this machine behind a datastore path.
func (l *lab) realPath(path string) (string, *simulator.Datastore, types.BaseMethodFault) {
	name, file, ok := splitPath(path)
	if !ok {
		return "", nil, &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: name}, DatastorePath: path}
	}
	ds := l.datastore(name)
	if ds == nil {
		return "", nil, &types.InvalidDatastore{Name: name}
	}
	return filepath.Join(ds.Summary.Url, file), ds, nil
}

// createDiskFile writes an empty VMDK (descriptor and extent), so that file searches find it.
func (l *lab) createDiskFile(path, uuid string, kb int64) error {
	file, _, fault := l.realPath(path)
	if fault != nil {
		return errors.New(faultText(fault))
	}
	if filepath.Ext(file) != ".vmdk" {
		return fmt.Errorf("disk path %q does not end in .vmdk", path)
	}
	if _, err := os.Stat(file); err == nil {
		return fmt.Errorf("disk %q: %w; choose another path", path, os.ErrExist)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	extent := simulator.VirtualDiskBackingFileName(file)
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	desc := vmdk.NewDescriptor(vmdk.Extent{Info: filepath.Base(extent), Size: kb * 1024 / vmdk.SectorSize})
	if err := desc.Write(out); err != nil {
		return err
	}
	l.disks.put(path, diskFile{uuid, kb})
	return os.WriteFile(extent, nil, 0o600)
}

// diskFileOf returns the UUID and size of a VMDK, whoever made it.
func (l *lab) diskFileOf(path string) diskFile {
	if f, ok := l.disks.get(path); ok {
		return f
	}
	f := diskFile{uuid: stableUUID(path)}
	if desc, _, fault := l.reg.FileManager().DiskDescriptor(l.ctx(), &l.dc, path); fault == nil {
		f.kb = int64(desc.Capacity()) / 1024
	}
	l.disks.put(path, f)
	return f
}

// newDisk makes a disk device as a VM's device list shows it.
func newDisk(ds *simulator.Datastore, s diskSpec, ctrl int32) *types.VirtualDisk {
	unit, no, parent := s.Unit, false, ds.Self
	d := &types.VirtualDisk{CapacityInKB: s.CapacityMB * 1024, CapacityInBytes: s.CapacityMB << 20}
	d.Key, d.ControllerKey, d.UnitNumber = 2000+s.Bus*16+unit, ctrl, &unit
	d.Backing = &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: s.Path, Datastore: &parent},
		DiskMode:                     s.Mode, Uuid: s.UUID, Sharing: s.Sharing,
		ThinProvisioned: &no, EagerlyScrub: &no, WriteThrough: &no, Split: &no, DigestEnabled: &no,
	}
	label(d, "Hard disk 1", fmt.Sprintf("%d KB", d.CapacityInKB))
	return d
}

// addDisk makes the VMDK and, if a VM is named, attaches it by the rules that every attach obeys.
func (l *lab) addDisk(s diskSpec) error {
	if s.CapacityMB <= 0 {
		return fmt.Errorf("disk %q has no size; give capacity_mb", s.Path)
	}
	if s.Mode == "" {
		s.Mode = string(types.VirtualDiskModePersistent)
	}
	if s.UUID == "" {
		s.UUID = stableUUID(s.Path)
	}
	if err := l.createDiskFile(s.Path, s.UUID, s.CapacityMB*1024); err != nil {
		return err
	}
	if s.AttachedTo == "" {
		return nil
	}
	return l.attachNow(s)
}

// attachNow attaches a disk without a task and without asking the hook.
func (l *lab) attachNow(s diskSpec) error {
	vm, err := l.vm(s.AttachedTo)
	if err != nil {
		return err
	}
	ctrl := controllerOnBus(vm.Config.Hardware.Device, s.Bus)
	if ctrl == nil {
		return fmt.Errorf("VM %q has no controller on bus %d; add one to its controllers", vm.Name, s.Bus)
	}
	_, ds, fault := l.realPath(s.Path)
	if fault != nil {
		return errors.New(faultText(fault))
	}
	disk := newDisk(ds, s, ctrl.GetVirtualController().Key)
	disk.Key = -1
	spec := &types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
		&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk},
	}}
	if fault := l.change(l.ctx(), vm, spec, nil); fault != nil {
		return fmt.Errorf("disk %q cannot be attached to VM %q: %s %s", s.Path, vm.Name, faultName(fault), faultText(fault))
	}
	return nil
}

// controllerOnBus returns the disk controller of the bus: SCSI first, as paths such as "1:0" mean it.
func controllerOnBus(devices []types.BaseVirtualDevice, bus int32) types.BaseVirtualController {
	var other types.BaseVirtualController
	for _, d := range devices {
		c, ok := d.(types.BaseVirtualController)
		if !ok || c.GetVirtualController().BusNumber != bus || kindOf(c) == "" {
			continue
		}
		if isSCSI(c) {
			return c
		}
		other = c
	}
	return other
}
