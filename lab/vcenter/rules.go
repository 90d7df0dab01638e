package main

import (
	"fmt"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// faultRule lets the calls after the first skip ones fail, count times.
type faultRule struct {
	Method  string `json:"method"`
	VM      string `json:"vm"`
	Type    string `json:"type"`
	Message string `json:"message"`
	Skip    int    `json:"skip"`
	Count   int    `json:"count"`
	Where   string `json:"where"`
}

type faultRules struct {
	mu    sync.Mutex
	rules []*faultRule
}

func (r *faultRules) add(in faultRule) error {
	if in.VM == "" {
		in.VM = "*"
	}
	if in.Count == 0 {
		in.Count = 1
	}
	if in.Where == "" {
		in.Where = "call"
	}
	switch {
	case in.Method == "":
		return fmt.Errorf("the fault names no method; use a name such as ReconfigVM_Task")
	case in.Where != "call" && in.Where != "task":
		return fmt.Errorf("where %q is not known; use call or task", in.Where)
	case in.Where == "task" && !ownTasks[in.Method]:
		return fmt.Errorf("%s does not run as a task of the lab; use where call", in.Method)
	case in.Skip < 0 || in.Count < 0:
		return fmt.Errorf("skip and count must not be negative")
	}
	if _, err := newFault(in.Type, ref{}, ""); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = append(r.rules, &in)
	return nil
}

// take returns the fault that this call gets, if any, and counts it off.
func (r *faultRules) take(method, vm, where string) types.BaseMethodFault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, rule := range r.rules {
		if rule.Method != method || rule.Where != where || (rule.VM != "*" && rule.VM != vm) {
			continue
		}
		if rule.Skip > 0 {
			rule.Skip--
			continue
		}
		if rule.Count--; rule.Count == 0 {
			r.rules = append(r.rules[:i:i], r.rules[i+1:]...)
		}
		f, err := newFault(rule.Type, ref{Type: "VirtualMachine", Value: "vm-0"}, rule.Message)
		if err != nil {
			continue
		}
		return f
	}
	return nil
}

// end takes back the faults of a method, and returns how many calls of it were still to fail.
func (r *faultRules) end(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, kept := 0, r.rules[:0:0]
	for _, rule := range r.rules {
		if rule.Method == method {
			left += rule.Count
		} else {
			kept = append(kept, rule)
		}
	}
	r.rules = kept
	return left
}

func (r *faultRules) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = nil
}

// privileges: what a call needs; disk changes are in needed.
var privileges = map[string]string{
	"PowerOffVM_Task": "VirtualMachine.Interact.PowerOff", "PowerOnVM_Task": "VirtualMachine.Interact.PowerOn",
	"ShutdownGuest": "VirtualMachine.Interact.PowerOff", "TerminateVM": "VirtualMachine.Interact.PowerOff",
	"ResetVM_Task": "VirtualMachine.Interact.Reset", "RebootGuest": "VirtualMachine.Interact.Reset",
	"SuspendVM_Task": "VirtualMachine.Interact.Suspend", "StandbyGuest": "VirtualMachine.Interact.Suspend",
	"CreateSnapshot_Task": "VirtualMachine.State.CreateSnapshot", "CreateSnapshotEx_Task": "VirtualMachine.State.CreateSnapshot",
	"RemoveAllSnapshots_Task": "VirtualMachine.State.RemoveSnapshot", "RemoveSnapshot_Task": "VirtualMachine.State.RemoveSnapshot",
	"RevertToSnapshot_Task": "VirtualMachine.State.RevertToSnapshot", "RevertToCurrentSnapshot_Task": "VirtualMachine.State.RevertToSnapshot",
	"CreateVirtualDisk_Task": "Datastore.FileManagement", "DeleteVirtualDisk_Task": "Datastore.FileManagement",
	"MoveVirtualDisk_Task": "Datastore.FileManagement", "MakeDirectory": "Datastore.FileManagement",
	"DeleteDatastoreFile_Task": "Datastore.FileManagement", "MoveDatastoreFile_Task": "Datastore.FileManagement",
	"SearchDatastore_Task": "Datastore.Browse", "SearchDatastoreSubFolders_Task": "Datastore.Browse",
	"RelocateVM_Task": "Resource.HotMigrate", "SetField": "Global.SetCustomField", "AddCustomFieldDef": "Global.ManageCustomFields",
}

// denials: what a user must not do.
type denials struct {
	mu sync.Mutex
	by map[string]map[string]bool
}

func newDenials() *denials { return &denials{by: map[string]map[string]bool{}} }

func (d *denials) set(user string, privileges []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by[user] = map[string]bool{}
	for _, p := range privileges {
		d.by[user][p] = true
	}
}

func (d *denials) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by = map[string]map[string]bool{}
}

func (d *denials) denied(user, privilege string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by[user][privilege]
}

// check returns the fault for the first privilege that the call needs and the user lacks.
func (d *denials) check(user string, m *simulator.Method) types.BaseMethodFault {
	for _, p := range needed(m) {
		if d.denied(user, p) {
			return &types.NoPermission{Object: &m.This, PrivilegeId: p}
		}
	}
	return nil
}

func needed(m *simulator.Method) []string {
	var need []string
	if p, ok := privileges[m.Name]; ok {
		need = append(need, p)
	}
	r, ok := m.Body.(*types.ReconfigVM_Task)
	if !ok {
		return need
	}
	if len(r.Spec.ExtraConfig) > 0 {
		need = append(need, "VirtualMachine.Config.AdvancedConfig")
	}
	if r.Spec.Annotation != "" {
		need = append(need, "VirtualMachine.Config.Annotation")
	}
	for _, c := range r.Spec.DeviceChange {
		need = append(need, deviceNeeds(c.GetVirtualDeviceConfigSpec()))
	}
	return need
}

func deviceNeeds(s *types.VirtualDeviceConfigSpec) string {
	_, isDisk := s.Device.(*types.VirtualDisk)
	switch {
	case !isDisk:
		return "VirtualMachine.Config.AddRemoveDevice"
	case s.Operation == opRemove:
		return "VirtualMachine.Config.RemoveDisk"
	case s.Operation == opEdit:
		return "VirtualMachine.Config.EditDevice"
	case s.FileOperation != "":
		return "VirtualMachine.Config.AddNewDisk"
	}
	return "VirtualMachine.Config.AddExistingDisk"
}
