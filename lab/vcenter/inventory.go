package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// inventory is what the vCenter holds when it starts.
type inventory struct {
	Username   string     `json:"username"`
	Password   string     `json:"password"`
	Hosts      []string   `json:"hosts"`
	Datastores []string   `json:"datastores"`
	VMs        []vmSpec   `json:"vms"`
	Disks      []diskSpec `json:"disks"`
}

type vmSpec struct {
	Name         string           `json:"name"`
	UUID         string           `json:"uuid"`
	InstanceUUID string           `json:"instance_uuid"`
	Host         string           `json:"host"`
	Power        string           `json:"power"`
	Controllers  []controllerSpec `json:"controllers"`
	EnableUUID   bool             `json:"enable_uuid"`
}

type controllerSpec struct {
	Type string `json:"type"`
	Bus  int32  `json:"bus"`
}

type diskSpec struct {
	Path       string `json:"path"`
	UUID       string `json:"uuid"`
	CapacityMB int64  `json:"capacity_mb"`
	AttachedTo string `json:"attached_to"`
	Bus        int32  `json:"bus"`
	Unit       int32  `json:"unit"`
	Mode       string `json:"mode"`
	Sharing    string `json:"sharing"`
}

func readInventory(file string) (*inventory, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	inv := &inventory{}
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	if err := dec.Decode(inv); err != nil {
		return nil, fmt.Errorf("inventory %s is not usable: %w", file, err)
	}
	if len(inv.Hosts) == 0 || len(inv.Datastores) == 0 {
		return nil, errors.New("the inventory names no hosts or no datastores; give at least one of each")
	}
	return inv, nil
}

// build creates the simulator's objects and puts the inventory into it.
func (l *lab) build(inv *inventory, filler int) error {
	m := simulator.VPX()
	m.Portgroup, m.Host, m.Cluster, m.Machine, m.Pool = 0, 0, 1, 0, 0
	m.ClusterHost, m.Datastore = len(inv.Hosts), len(inv.Datastores)
	m.ServiceContent.About.ApiVersion = "8.0.3.0"
	l.model = m
	if err := m.Create(); err != nil {
		return fmt.Errorf("the simulator did not start: %w", err)
	}
	l.reg = m.Map()
	l.reg.AddHandler(l)
	if err := l.nameAll(inv); err != nil {
		return err
	}
	if err := l.makeTemplate(); err != nil {
		return err
	}
	for _, v := range inv.VMs {
		if err := l.addVM(v); err != nil {
			return err
		}
	}
	for _, d := range inv.Disks {
		if err := l.addDisk(d); err != nil {
			return err
		}
	}
	if err := l.addFiller(filler); err != nil {
		return err
	}
	l.reg.Handler = l.gate
	m.Service.Listen = &url.URL{Host: "127.0.0.1:0"}
	if inv.Username != "" {
		m.Service.Listen.User = url.UserPassword(inv.Username, inv.Password)
	}
	return nil
}

// nameAll gives the simulator's hosts and datastores the names of the inventory.
func (l *lab) nameAll(inv *inventory) error {
	for i, h := range l.hosts() {
		h.Name, h.Summary.Config.Name = inv.Hosts[i], inv.Hosts[i]
	}
	for i, name := range inv.Datastores {
		d := l.datastore(fmt.Sprintf("LocalDS_%d", i))
		if d == nil {
			return fmt.Errorf("datastore %d was not made by the simulator", i)
		}
		d.Name, d.Summary.Name = name, name
		d.Info.GetDatastoreInfo().Name = name
	}
	cluster, ok := l.reg.Any("ClusterComputeResource").(*simulator.ClusterComputeResource)
	if !ok {
		return errors.New("the simulator has no cluster")
	}
	if c, ok := cluster.ConfigurationEx.(*types.ClusterConfigInfoEx); ok {
		c.DasConfig.Enabled, c.DrsConfig.Enabled = types.NewBool(true), types.NewBool(false) // settings only: neither is played
	}
	l.pool = *cluster.ResourcePool
	l.dc = l.reg.Any("Datacenter").Reference()
	return nil
}

// addVM puts one VM of the inventory into the vCenter.
func (l *lab) addVM(s vmSpec) error {
	if s.Name == "" {
		return errors.New("a VM of the inventory has no name; give it one")
	}
	if _, err := l.vm(s.Name); err == nil {
		return fmt.Errorf("VM %q exists already; choose another name", s.Name)
	}
	if s.Power == "" {
		s.Power = string(types.VirtualMachinePowerStatePoweredOff)
	}
	if s.Host == "" {
		s.Host = l.hosts()[0].Name
	}
	devices, err := controllersOf(s.Controllers)
	if err != nil {
		return fmt.Errorf("VM %q: %w", s.Name, err)
	}
	_, err = l.newMachine(s, devices)
	return err
}

func controllersOf(specs []controllerSpec) ([]types.BaseVirtualDevice, error) {
	if len(specs) == 0 {
		specs = []controllerSpec{{Type: "pvscsi"}}
	}
	var out []types.BaseVirtualDevice
	for _, s := range specs {
		c, err := newController(s.Type, s.Bus)
		if err != nil {
			return nil, err
		}
		if find(out, c.GetVirtualDevice().Key) != nil {
			return nil, fmt.Errorf("two controllers of one kind are on bus %d; give each its own bus", s.Bus)
		}
		out = append(out, c)
	}
	return out, nil
}
