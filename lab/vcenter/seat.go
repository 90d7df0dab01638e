package main

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// seat checks the controller and unit that a disk asks for, and picks a unit if it asks for none.
func (p *plan) seat(i int, d *types.VirtualDisk) (types.BaseVirtualController, types.BaseMethodFault) {
	c := controller(p.devices, d.ControllerKey)
	if c == nil {
		f := &types.InvalidController{ControllerKey: d.ControllerKey}
		f.DeviceIndex, f.Property = int32(i), fmt.Sprintf("virtualDeviceSpec[%d].device.controllerKey", i)
		return nil, f
	}
	if d.UnitNumber == nil || *d.UnitNumber < 0 {
		unit, ok := p.freeUnit(c, d.ControllerKey)
		if !ok {
			return nil, deviceFault(i, "device.unitNumber", "The controller has no free unit.")
		}
		d.UnitNumber = &unit
	}
	unit := *d.UnitNumber
	switch {
	case isSCSI(c) && unit == 7:
		return nil, deviceFault(i, "device.unitNumber", "Unit 7 belongs to the controller itself.")
	case unit > maxUnit(c):
		return nil, deviceFault(i, "device.unitNumber", "Unit %d is beyond %d, the last of this controller.", unit, maxUnit(c))
	case atUnit(p.devices, d.ControllerKey, unit) != nil:
		return nil, deviceFault(i, "device.unitNumber", "Unit %d of the controller is taken by another device.", unit)
	}
	return c, nil
}

func (p *plan) freeUnit(c types.BaseVirtualController, key int32) (int32, bool) {
	for unit := int32(0); unit <= maxUnit(c); unit++ {
		if !(isSCSI(c) && unit == 7) && atUnit(p.devices, key, unit) == nil {
			return unit, true
		}
	}
	return 0, false
}

// freeKey gives a new device its key. Clients number new devices with keys that mean
// nothing, mostly negative ones; vSphere chooses by the place where the device sits.
func (p *plan) freeKey(wanted, given int32) int32 {
	if given > 0 && find(p.devices, given) == nil {
		wanted = given
	}
	for find(p.devices, wanted) != nil {
		wanted++
	}
	return wanted
}

// freeLabel is the first "Hard disk N" that no disk of the VM has.
func (p *plan) freeLabel() string {
	taken := map[string]bool{}
	for _, d := range disksOf(p.devices) {
		if i, ok := d.DeviceInfo.(*types.Description); ok {
			taken[i.Label] = true
		}
	}
	n := 1
	for taken[fmt.Sprintf("Hard disk %d", n)] {
		n++
	}
	return fmt.Sprintf("Hard disk %d", n)
}

func (p *plan) addController(i int, c types.BaseVirtualController, d types.BaseVirtualDevice) types.BaseMethodFault {
	kind := kindOf(c)
	if kind == "" {
		return say(&types.NotSupported{}, "msg.lab.device", "The lab can add disk controllers only.")
	}
	v := c.GetVirtualController()
	for _, other := range p.devices {
		o, ok := other.(types.BaseVirtualController)
		if ok && sameFamily(o, c) && o.GetVirtualController().BusNumber == v.BusNumber {
			return deviceFault(i, "device.busNumber", "Bus %d is taken by another controller.", v.BusNumber)
		}
	}
	made, err := newController(kind, v.BusNumber)
	if err != nil {
		return deviceFault(i, "device.busNumber", "Bus %d is out of range.", v.BusNumber)
	}
	if s, ok := d.(types.BaseVirtualSCSIController); ok {
		made.(types.BaseVirtualSCSIController).GetVirtualSCSIController().SharedBus = s.GetVirtualSCSIController().SharedBus
	}
	v.Key = made.GetVirtualDevice().Key // later changes of the spec refer to it
	p.devices = append(p.devices, made)
	return nil
}

func sameFamily(a, b types.BaseVirtualController) bool {
	return kindOf(a) != "" && controllerKinds[kindOf(a)].key == controllerKinds[kindOf(b)].key
}

func (p *plan) removeController(i int, d types.BaseVirtualDevice) types.BaseMethodFault {
	key := d.GetVirtualDevice().Key
	if c := controller(p.devices, key); c == nil || kindOf(c) == "" {
		return deviceFault(i, "device.key", "The VM has no disk controller with key %d.", key)
	}
	for _, other := range p.devices {
		if other.GetVirtualDevice().ControllerKey == key {
			return deviceFault(i, "device.key", "Devices are still on the controller.")
		}
	}
	p.devices = without(p.devices, key)
	return nil
}

func without(devices []types.BaseVirtualDevice, key int32) []types.BaseVirtualDevice {
	var out []types.BaseVirtualDevice
	for _, d := range devices {
		if d.GetVirtualDevice().Key != key {
			out = append(out, d)
		}
	}
	return out
}

// slot names a disk as ESXi does in its messages: scsi1:0.
func slot(c types.BaseVirtualController, d *types.VirtualDisk) string {
	bus := "scsi"
	if !isSCSI(c) {
		bus = "disk"
	}
	return fmt.Sprintf("%s%d:%d", bus, c.GetVirtualController().BusNumber, *d.UnitNumber)
}

// step tells the hook of one disk change.
func (p *plan) step(op string, c types.BaseVirtualController, d *types.VirtualDisk) step {
	s := step{Op: op, VM: p.vm.Name, Path: fileOf(d), UUID: diskUUID(d), disk: true}
	if c != nil {
		s.Bus = c.GetVirtualController().BusNumber
	}
	if d.UnitNumber != nil {
		s.Unit = *d.UnitNumber
	}
	return s
}

// delayOf adds up how long the disk changes of a spec take.
func (d *delays) delayOf(spec *types.VirtualMachineConfigSpec) time.Duration {
	total := d.get("reconfigure")
	for _, c := range spec.DeviceChange {
		s := c.GetVirtualDeviceConfigSpec()
		if _, ok := s.Device.(*types.VirtualDisk); !ok {
			continue
		}
		switch s.Operation {
		case opAdd:
			total += d.get("attach")
		case opRemove:
			total += d.get("detach")
		}
	}
	return total
}
