package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const shared = "[ds1] shared/data.vmdk"

// twoVMs starts a lab: a and b run, on hosts of their own; a has the disk at 1:0.
func twoVMs(t *testing.T, hookURL string) *lab {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	controllers := []controllerSpec{{Type: "pvscsi", Bus: 0}, {Type: "lsilogic", Bus: 1}}
	l := newLab(hookURL)
	err := l.build(&inventory{
		Hosts: []string{"esx1", "esx2"}, Datastores: []string{"ds1"},
		VMs: []vmSpec{
			{Name: "a", Host: "esx1", Power: "poweredOn", Controllers: controllers},
			{Name: "b", Host: "esx2", Power: "poweredOn", Controllers: controllers},
		},
		Disks: []diskSpec{{Path: shared, UUID: "6000c290-0", CapacityMB: 16, AttachedTo: "a", Bus: 1}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.model.Remove)
	return l
}

func vmOf(t *testing.T, l *lab, name string) *simulator.VirtualMachine {
	t.Helper()
	vm, err := l.vm(name)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func adding(file string, ctrl, unit int32) types.BaseVirtualDeviceConfigSpec {
	d := &types.VirtualDisk{}
	d.Key, d.ControllerKey, d.UnitNumber = -1, ctrl, &unit
	d.Backing = &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}, DiskMode: "persistent",
	}
	return &types.VirtualDeviceConfigSpec{Operation: opAdd, Device: d}
}

func removing(key int32) types.BaseVirtualDeviceConfigSpec {
	d := &types.VirtualDisk{}
	d.Key = key
	return &types.VirtualDeviceConfigSpec{Operation: opRemove, Device: d}
}

func spec(changes ...types.BaseVirtualDeviceConfigSpec) *types.VirtualMachineConfigSpec {
	return &types.VirtualMachineConfigSpec{DeviceChange: changes}
}

// expect fails unless f has the type's name; "" means no fault.
func expect(t *testing.T, f types.BaseMethodFault, name string) {
	t.Helper()
	got := ""
	if f != nil {
		got = faultName(f)
	}
	if got != name {
		t.Fatalf("fault %q, want %q", got, name)
	}
}

func TestDeviceRules(t *testing.T) {
	l := twoVMs(t, "")
	if err := l.addDisk(diskSpec{Path: "[ds1] free.vmdk", CapacityMB: 8}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, fault string
		spec        *types.VirtualMachineConfigSpec
	}{
		{"free unit", "", spec(adding("[ds1] free.vmdk", 1000, 0))},
		{"last unit of pvscsi", "", spec(adding("[ds1] free.vmdk", 1000, 64))},
		{"unit of the controller", "InvalidDeviceSpec", spec(adding("[ds1] free.vmdk", 1000, 7))},
		{"beyond pvscsi", "InvalidDeviceSpec", spec(adding("[ds1] free.vmdk", 1000, 65))},
		{"beyond lsilogic", "InvalidDeviceSpec", spec(adding("[ds1] free.vmdk", 1001, 16))},
		{"taken unit", "InvalidDeviceSpec", spec(adding("[ds1] free.vmdk", 1001, 0))},
		{"unknown controller", "InvalidController", spec(adding("[ds1] free.vmdk", 4242, 0))},
		{"unknown key", "InvalidDeviceSpec", spec(removing(4242))},
		{"unknown file", "FileNotFound", spec(adding("[ds1] none.vmdk", 1000, 0))},
		{"unknown datastore", "InvalidDatastore", spec(adding("[ds9] free.vmdk", 1000, 0))},
		{"out of the datastore", "InvalidDatastorePath", spec(adding("[ds1] ../../../../etc/hostname", 1000, 0))},
		{"file that the VM has", "GenericVmConfigFault", spec(adding(shared, 1000, 0))},
		{"second change bad", "InvalidDeviceSpec", spec(adding("[ds1] free.vmdk", 1000, 0), removing(4242))},
		{"stale version", "ConcurrentAccess", &types.VirtualMachineConfigSpec{ChangeVersion: "old"}},
		{"other settings", "NotSupported", &types.VirtualMachineConfigSpec{NumCPUs: 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			vm := vmOf(t, l, "a")
			before := vm.Config.Hardware.Device
			_, f := l.planFor(vm, c.spec)
			expect(t, f, c.fault)
			if len(vm.Config.Hardware.Device) != len(before) {
				t.Fatal("a plan changed the VM")
			}
		})
	}
}

func TestControllerAndDiskInOneSpec(t *testing.T) {
	l := twoVMs(t, "")
	vm := vmOf(t, l, "b")
	expect(t, l.change(l.ctx(), vmOf(t, l, "a"), spec(removing(2016)), nil), "")
	ctrl := &types.ParaVirtualSCSIController{}
	ctrl.Key, ctrl.BusNumber = -5, 2
	add := &types.VirtualDeviceConfigSpec{Operation: opAdd, Device: ctrl}
	expect(t, l.change(l.ctx(), vm, spec(add, adding(shared, -5, 3)), nil), "")
	disk := disksOf(vm.Config.Hardware.Device)[0]
	if disk.ControllerKey != 1002 || diskUUID(disk) != "6000c290-0" || disk.CapacityInKB != 16384 {
		t.Fatalf("the disk is %+v", disk)
	}
	if c := controller(vm.Config.Hardware.Device, 1002).GetVirtualController(); len(c.Device) != 1 || c.Device[0] != disk.Key {
		t.Fatalf("the controller lists %v", c.Device)
	}
	again := &types.ParaVirtualSCSIController{}
	again.Key, again.BusNumber = -6, 2
	expect(t, l.change(l.ctx(), vm, spec(&types.VirtualDeviceConfigSpec{Operation: opAdd, Device: again}), nil), "InvalidDeviceSpec")
}

func TestLocks(t *testing.T) {
	l := twoVMs(t, "")
	a, b := vmOf(t, l, "a"), vmOf(t, l, "b")
	expect(t, l.change(l.ctx(), b, spec(adding(shared, 1001, 0)), nil), "GenericVmConfigFault")
	if err := l.guestPower(a, off); err != nil {
		t.Fatal(err)
	}
	expect(t, l.change(l.ctx(), b, spec(adding(shared, 1001, 0)), nil), "")
	if err := l.guestPower(a, on); err == nil {
		t.Fatal("a started although b has its disk open")
	}
	expect(t, l.turn(l.ctx(), a, "poweron", on, func() types.BaseMethodFault { return nil }), "GenericVmConfigFault")
	if by, locked := l.vmfs.lockedBy(ref{}, "[ds1] shared"); !locked || by != b.Self {
		t.Fatal("the folder of an open file counts as free")
	}
}

// A file that several VMs want at once goes to one of them, each time.
func TestRaceForOneFile(t *testing.T) {
	l := twoVMs(t, "")
	expect(t, l.change(l.ctx(), vmOf(t, l, "a"), spec(removing(2016)), nil), "")
	for round := 0; round < 20; round++ {
		var wg sync.WaitGroup
		faults := make([]types.BaseMethodFault, 2)
		for i, name := range []string{"a", "b"} {
			vm := vmOf(t, l, name)
			wg.Add(1)
			go func() {
				defer wg.Done()
				faults[i] = l.change(l.ctx(), vm, spec(adding(shared, 1001, 0)), nil)
			}()
		}
		wg.Wait()
		if (faults[0] == nil) == (faults[1] == nil) {
			t.Fatalf("round %d: winners %v %v", round, faults[0] == nil, faults[1] == nil)
		}
		for _, name := range []string{"a", "b"} {
			for _, d := range disksOf(vmOf(t, l, name).Config.Hardware.Device) {
				expect(t, l.change(l.ctx(), vmOf(t, l, name), spec(removing(d.Key)), nil), "")
			}
		}
	}
}

// The hook hears the changes in the order of the spec; a refusal takes the earlier ones back.
func TestHookOrderAndRefusal(t *testing.T) {
	var heard []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Op, Path string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		heard = append(heard, in.Op+" "+in.Path)
		if in.Op == "attach" && strings.Contains(in.Path, "bad") {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"fault":"FileLocked","message":"busy"}`))
		}
	}))
	defer server.Close()
	l := twoVMs(t, server.URL)
	vm := vmOf(t, l, "a")
	for _, p := range []string{"[ds1] bad.vmdk", "[ds1] good.vmdk"} {
		if err := l.addDisk(diskSpec{Path: p, CapacityMB: 8}); err != nil {
			t.Fatal(err)
		}
	}
	version := vm.Config.ChangeVersion
	expect(t, l.change(l.ctx(), vm, spec(removing(2016), adding("[ds1] bad.vmdk", 1001, 0)), l.hook), "FileLocked")
	if vm.Config.ChangeVersion != version || fileOf(disksOf(vm.Config.Hardware.Device)[0]) != shared {
		t.Fatal("a refused change was committed")
	}
	expect(t, l.change(l.ctx(), vm, spec(removing(2016), adding("[ds1] good.vmdk", 1001, 0)), l.hook), "")
	want := "detach " + shared + ",attach [ds1] bad.vmdk,attach " + shared + ",detach " + shared + ",attach [ds1] good.vmdk"
	if got := strings.Join(heard, ","); got != want {
		t.Fatalf("the hook heard %s, want %s", got, want)
	}
}

// The VM changes while the nodes follow: the task fails, and the nodes are told to take it back.
func TestTheHookTakesBackWhatWasOvertaken(t *testing.T) {
	var heard []string
	var meanwhile func()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var in struct{ Op, Path string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		heard = append(heard, in.Op+" "+in.Path)
		if in.Op == "attach" {
			meanwhile()
		}
	}))
	defer server.Close()
	l := twoVMs(t, server.URL)
	vm := vmOf(t, l, "a")
	meanwhile = func() {
		if err := l.guestPower(vm, off); err != nil {
			t.Error(err)
		}
	}
	if err := l.addDisk(diskSpec{Path: "[ds1] good.vmdk", CapacityMB: 8}); err != nil {
		t.Fatal(err)
	}
	s := spec(adding("[ds1] good.vmdk", 1001, 1))
	s.ChangeVersion = vm.Config.ChangeVersion
	expect(t, l.change(l.ctx(), vm, s, l.hook), "ConcurrentAccess")
	if got, want := strings.Join(heard, ","), "attach [ds1] good.vmdk,detach [ds1] good.vmdk"; got != want {
		t.Fatalf("the hook heard %s, want %s", got, want)
	}
}

// What a watcher still holds must not change under it.
func TestChangesAreMadeOnCopies(t *testing.T) {
	l := twoVMs(t, "")
	vm := vmOf(t, l, "a")
	held := vm.Config.Hardware.Device
	n, disk := len(held), disksOf(held)[0]
	l.makeSnapshot(l.ctx(), vm, "s", "")
	l.removeSnapshots(l.ctx(), vm)
	expect(t, l.change(l.ctx(), vm, spec(removing(2016)), nil), "")
	if len(held) != n || disksOf(held)[0] != disk || fileOf(disk) != shared || len(controller(held, 1001).GetVirtualController().Device) != 1 {
		t.Fatal("an old device list was changed in place")
	}
}

func TestSnapshots(t *testing.T) {
	l := twoVMs(t, "")
	vm := vmOf(t, l, "a")
	if err := l.addDisk(diskSpec{Path: "[ds1] own.vmdk", CapacityMB: 8, AttachedTo: "a", Bus: 0, Mode: "independent_persistent"}); err != nil {
		t.Fatal(err)
	}
	first := l.makeSnapshot(l.ctx(), vm, "one", "")
	l.makeSnapshot(l.ctx(), vm, "two", "")
	if err := l.addDisk(diskSpec{Path: "[ds1] late.vmdk", CapacityMB: 8, AttachedTo: "a", Bus: 0, Unit: 1}); err != nil {
		t.Fatal(err)
	}
	if got := fileOf(find(vm.Config.Hardware.Device, 2016)); got != "[ds1] shared/data-000002.vmdk" {
		t.Fatalf("the disk's file is %s", got)
	}
	expect(t, l.change(l.ctx(), vm, spec(removing(2016)), nil), "InvalidDeviceSpec")
	expect(t, l.change(l.ctx(), vm, spec(removing(2000)), nil), "")
	expect(t, l.change(l.ctx(), vm, spec(removing(2001)), nil), "")
	if _, locked := l.vmfs.lockedBy(ref{}, shared); !locked {
		t.Fatal("the file below a snapshot counts as free")
	}
	l.removeSnapshot(l.ctx(), vm, first, false)
	if count(vm.Snapshot.RootSnapshotList) != 1 {
		t.Fatal("removing one of two snapshots did not leave one")
	}
	l.removeSnapshots(l.ctx(), vm)
	if vm.Snapshot != nil || fileOf(find(vm.Config.Hardware.Device, 2016)) != shared {
		t.Fatal("the disk did not come back to its file")
	}
	expect(t, l.change(l.ctx(), vm, spec(removing(2016)), nil), "")
}

func TestFaultRules(t *testing.T) {
	r := &faultRules{}
	if err := r.add(faultRule{Method: "ReconfigVM_Task", Type: "TaskInProgress", VM: "a", Skip: 1, Count: 2}); err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, vm := range []string{"b", "a", "a", "a", "a"} {
		got = append(got, r.take("ReconfigVM_Task", vm, "call") != nil)
	}
	want := []bool{false, false, true, true, false}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("calls failed: %v, want %v", got, want)
		}
	}
	for _, bad := range []faultRule{{Method: "X", Type: "NoSuchFault"}, {Method: "X", Type: "VirtualDisk"}, {Type: "FileLocked"}, {Method: "FindByUuid", Type: "FileLocked", Where: "task"}} {
		if r.add(bad) == nil {
			t.Fatalf("rule %+v was accepted", bad)
		}
	}
}
