package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// The answer to GET /inventory.
type shownVM struct {
	Ref           string      `json:"ref"`
	Name          string      `json:"name"`
	UUID          string      `json:"uuid"`
	InstanceUUID  string      `json:"instance_uuid"`
	Host          string      `json:"host"`
	Power         string      `json:"power"`
	Running       bool        `json:"running"`
	Connection    string      `json:"connection"`
	Heartbeat     string      `json:"heartbeat"`
	Tools         string      `json:"tools"`
	ChangeVersion string      `json:"change_version"`
	Snapshots     int         `json:"snapshots"`
	Disks         []shownDisk `json:"disks"`
}

type shownDisk struct {
	Path string `json:"path"`
	UUID string `json:"uuid"`
	Bus  int32  `json:"bus"`
	Unit int32  `json:"unit"`
	Key  int32  `json:"key"`
	Mode string `json:"mode"`
}

type shownHost struct {
	Name       string `json:"name"`
	Connection string `json:"connection"`
}

// show reads without the objects' locks, which are taken before the lab's: only the lab changes what it reads.
func (l *lab) show() map[string]any {
	vms, hosts := []shownVM{}, []shownHost{}
	l.world.Lock()
	defer l.world.Unlock()
	for _, vm := range l.vms() {
		vms = append(vms, l.showVM(vm))
	}
	for _, h := range l.hosts() {
		hosts = append(hosts, shownHost{h.Name, string(h.Runtime.ConnectionState)})
	}
	return map[string]any{"vms": vms, "hosts": hosts}
}

func (l *lab) showVM(vm *simulator.VirtualMachine) shownVM {
	s := shownVM{
		Ref: vm.Self.Value, Name: vm.Name, UUID: vm.Config.Uuid, InstanceUUID: vm.Config.InstanceUuid,
		Power: string(vm.Runtime.PowerState), Running: l.vmfs.isRunning(vm.Self), Connection: string(vm.Runtime.ConnectionState),
		Heartbeat: string(vm.GuestHeartbeatStatus), Tools: vm.Guest.ToolsRunningStatus,
		ChangeVersion: vm.Config.ChangeVersion, Disks: []shownDisk{},
	}
	if h := l.hostOf(vm); h != nil {
		s.Host = h.Name
	}
	if vm.Snapshot != nil {
		s.Snapshots = count(vm.Snapshot.RootSnapshotList)
	}
	for _, d := range disksOf(vm.Config.Hardware.Device) {
		s.Disks = append(s.Disks, showDisk(vm.Config.Hardware.Device, d))
	}
	return s
}

func showDisk(devices []types.BaseVirtualDevice, d *types.VirtualDisk) shownDisk {
	s := shownDisk{Path: fileOf(d), UUID: diskUUID(d), Key: d.Key, Bus: -1, Unit: -1}
	if c := controller(devices, d.ControllerKey); c != nil {
		s.Bus = c.GetVirtualController().BusNumber
	}
	if d.UnitNumber != nil {
		s.Unit = *d.UnitNumber
	}
	if b := flatBacking(d); b != nil {
		s.Mode = b.DiskMode
	}
	return s
}
