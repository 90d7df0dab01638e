package main

import (
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// flatBacking returns the backing of a plain virtual disk, or nil.
func flatBacking(d types.BaseVirtualDevice) *types.VirtualDiskFlatVer2BackingInfo {
	disk, ok := d.(*types.VirtualDisk)
	if !ok {
		return nil
	}
	b, _ := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return b
}

// fileOf returns the datastore path of a disk's topmost file, or "".
func fileOf(d types.BaseVirtualDevice) string {
	disk, ok := d.(*types.VirtualDisk)
	if !ok {
		return ""
	}
	b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo)
	if !ok {
		return ""
	}
	return b.GetVirtualDeviceFileBackingInfo().FileName
}

// chainOf returns a disk's file and those that it depends on.
func chainOf(d types.BaseVirtualDevice) []string {
	b := flatBacking(d)
	if b == nil {
		if f := fileOf(d); f != "" {
			return []string{f}
		}
		return nil
	}
	var out []string
	for ; b != nil; b = b.Parent {
		out = append(out, b.FileName)
	}
	return out
}

func isMultiWriter(d types.BaseVirtualDevice) bool {
	b := flatBacking(d)
	return b != nil && b.Sharing == string(types.VirtualDiskSharingSharingMultiWriter)
}

func isIndependent(d types.BaseVirtualDevice) bool {
	b := flatBacking(d)
	return b != nil && strings.HasPrefix(b.DiskMode, "independent")
}

func diskUUID(d types.BaseVirtualDevice) string {
	if b := flatBacking(d); b != nil {
		return b.Uuid
	}
	return ""
}

func find(devices []types.BaseVirtualDevice, key int32) types.BaseVirtualDevice {
	for _, d := range devices {
		if d.GetVirtualDevice().Key == key {
			return d
		}
	}
	return nil
}

func controller(devices []types.BaseVirtualDevice, key int32) types.BaseVirtualController {
	c, _ := find(devices, key).(types.BaseVirtualController)
	return c
}

// atUnit returns the device of any kind at the unit of the controller.
func atUnit(devices []types.BaseVirtualDevice, ctrl, unit int32) types.BaseVirtualDevice {
	for _, d := range devices {
		v := d.GetVirtualDevice()
		if v.ControllerKey == ctrl && v.UnitNumber != nil && *v.UnitNumber == unit {
			return d
		}
	}
	return nil
}

// controllerKinds: what the lab can build, and the first key and the highest unit that vSphere uses for it.
var controllerKinds = map[string]struct {
	make     func() types.BaseVirtualDevice
	key, max int32
}{
	"pvscsi":   {func() types.BaseVirtualDevice { return scsi(&types.ParaVirtualSCSIController{}) }, 1000, 64},
	"lsilogic": {func() types.BaseVirtualDevice { return scsi(&types.VirtualLsiLogicController{}) }, 1000, 15},
	"lsisas":   {func() types.BaseVirtualDevice { return scsi(&types.VirtualLsiLogicSASController{}) }, 1000, 15},
	"buslogic": {func() types.BaseVirtualDevice { return scsi(&types.VirtualBusLogicController{}) }, 1000, 15},
	"ahci":     {func() types.BaseVirtualDevice { return &types.VirtualAHCIController{} }, 15000, 29},
	"nvme":     {func() types.BaseVirtualDevice { return &types.VirtualNVMEController{} }, 31000, 14},
}

func scsi(d types.BaseVirtualDevice) types.BaseVirtualDevice {
	c := d.(types.BaseVirtualSCSIController).GetVirtualSCSIController()
	c.SharedBus, c.ScsiCtlrUnitNumber = types.VirtualSCSISharingNoSharing, 7
	return d
}

func kindOf(c types.BaseVirtualController) string {
	switch c.(type) {
	case *types.ParaVirtualSCSIController:
		return "pvscsi"
	case *types.VirtualLsiLogicSASController:
		return "lsisas"
	case *types.VirtualLsiLogicController:
		return "lsilogic"
	case *types.VirtualBusLogicController:
		return "buslogic"
	case *types.VirtualAHCIController:
		return "ahci"
	case *types.VirtualNVMEController:
		return "nvme"
	}
	return ""
}

// maxUnit is the highest unit of a controller; IDE has two.
func maxUnit(c types.BaseVirtualController) int32 {
	if k, ok := controllerKinds[kindOf(c)]; ok {
		return k.max
	}
	return 1
}

func isSCSI(c types.BaseVirtualController) bool {
	_, ok := c.(types.BaseVirtualSCSIController)
	return ok
}

// newController makes a controller as a VM's device list shows it.
func newController(kind string, bus int32) (types.BaseVirtualDevice, error) {
	k, ok := controllerKinds[kind]
	if !ok {
		return nil, fmt.Errorf("controller type %q is not known; use pvscsi, lsilogic, lsisas, buslogic, ahci or nvme", kind)
	}
	if bus < 0 || bus > 3 {
		return nil, fmt.Errorf("controller bus %d is out of range; use 0 to 3", bus)
	}
	d := k.make()
	c := d.(types.BaseVirtualController).GetVirtualController()
	c.Key, c.BusNumber, c.ControllerKey = k.key+bus, bus, 100
	label(d, fmt.Sprintf("%s controller %d", kind, bus), kind)
	return d, nil
}

func label(d types.BaseVirtualDevice, name, summary string) {
	d.GetVirtualDevice().DeviceInfo = &types.Description{Label: name, Summary: summary}
}

// relink rebuilds each controller's list of its devices.
func relink(devices []types.BaseVirtualDevice) {
	at := map[int32][]int32{}
	for _, d := range devices {
		v := d.GetVirtualDevice()
		at[v.ControllerKey] = append(at[v.ControllerKey], v.Key)
	}
	for _, d := range devices {
		if c, ok := d.(types.BaseVirtualController); ok {
			c.GetVirtualController().Device = at[d.GetVirtualDevice().Key]
		}
	}
}

func disksOf(devices []types.BaseVirtualDevice) []*types.VirtualDisk {
	var out []*types.VirtualDisk
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok {
			out = append(out, disk)
		}
	}
	return out
}

// splitPath takes "[ds] a/b.vmdk" apart. A path that leaves the datastore is none.
func splitPath(p string) (datastore, file string, ok bool) {
	rest, ok := strings.CutPrefix(p, "[")
	if !ok {
		return "", "", false
	}
	datastore, file, ok = strings.Cut(rest, "]")
	file = strings.TrimSpace(file)
	return datastore, file, ok && datastore != "" && !strings.Contains("/"+file+"/", "/../")
}
