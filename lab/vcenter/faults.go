package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// sentences are what a vCenter says with its faults; others get their type's name in words.
var sentences = map[string]string{
	"ConcurrentAccess":     "The operation cannot be performed because the configuration was changed in the meantime.",
	"FileLocked":           "Unable to access a file since it is locked.",
	"FileNotFound":         "A file was not found.",
	"HostNotConnected":     "Unable to communicate with the remote host, since it is disconnected.",
	"InvalidController":    "The device refers to a controller that does not exist.",
	"InvalidDeviceSpec":    "Invalid configuration for device.",
	"InvalidPowerState":    "The attempted operation cannot be performed in the current power state.",
	"NoPermission":         "Permission to perform this operation was denied.",
	"NotAuthenticated":     "The session is not authenticated.",
	"TaskInProgress":       "Another task is already in progress.",
	"ToolsUnavailable":     "Cannot complete operation because VMware Tools is not running in this virtual machine.",
	"InvalidDatastore":     "The datastore is not known.",
	"NotSupported":         "The operation is not supported on the object.",
	"GenericVmConfigFault": "Failed to reconfigure the virtual machine.",
}

var camel = regexp.MustCompile(`([a-z])([A-Z])`)

func faultName(f types.BaseMethodFault) string { return reflect.TypeOf(f).Elem().Name() }

// faultText returns the sentence that goes with f: its own messages first.
func faultText(f types.BaseMethodFault) string {
	var own []string
	for _, m := range f.GetMethodFault().FaultMessage {
		own = append(own, m.Message)
	}
	if len(own) > 0 {
		return strings.Join(own, " ")
	}
	name := faultName(f)
	if s, ok := sentences[name]; ok {
		return s
	}
	return camel.ReplaceAllString(name, "$1 $2") + "."
}

func say(f types.BaseMethodFault, key, format string, a ...any) types.BaseMethodFault {
	m := f.GetMethodFault()
	m.FaultMessage = append(m.FaultMessage, types.LocalizableMessage{Key: key, Message: fmt.Sprintf(format, a...)})
	return f
}

// lockFault is what ESXi reports when another running VM has the file open.
func lockFault(device, file string) types.BaseMethodFault {
	f := &types.GenericVmConfigFault{Reason: fmt.Sprintf("Failed to add disk '%s'.", device)}
	say(f, "msg.disk.hotadd.Failed", "Failed to add disk '%s'.", device)
	say(f, "msg.disk.noBackEnd", "Cannot open the disk '%s' or one of the snapshot disks it depends on.", file)
	return say(f, "msg.fileio.lock", "Failed to lock the file")
}

// powerOnLockFault is the same for a VM that cannot start because of such a disk.
func powerOnLockFault(file string) types.BaseMethodFault {
	f := &types.GenericVmConfigFault{Reason: "Failed to lock the file"}
	say(f, "msg.fileio.lock", "Failed to lock the file")
	say(f, "msg.disk.noBackEnd", "Cannot open the disk '%s' or one of the snapshot disks it depends on.", file)
	return say(f, "msg.moduletable.powerOnFailed", "Module 'Disk' power on failed.")
}

func deviceFault(index int, property, format string, a ...any) types.BaseMethodFault {
	f := &types.InvalidDeviceSpec{DeviceIndex: int32(index)}
	f.Property = fmt.Sprintf("virtualDeviceSpec[%d].%s", index, property)
	return say(f, "msg.lab.device", format, a...)
}

func wrongPower(want, have types.VirtualMachinePowerState) types.BaseMethodFault {
	return &types.InvalidPowerState{RequestedState: want, ExistingState: have}
}

// newFault makes a fault from the name of its vSphere type.
//
// Clients refuse a fault whose required members are empty, so those are filled in.
func newFault(name string, vm ref, message string) (types.BaseMethodFault, error) {
	typ, ok := types.TypeFunc()(name)
	if !ok {
		return nil, fmt.Errorf("fault type %q does not exist in the vSphere API; use a name such as TaskInProgress", name)
	}
	f, ok := reflect.New(typ).Interface().(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("%q is a vSphere type but not a fault; use a name such as TaskInProgress", name)
	}
	switch x := f.(type) {
	case *types.TaskInProgress:
		x.Task = ref{Type: "Task", Value: "task-0"}
	case *types.NoPermission:
		x.Object, x.PrivilegeId = &vm, "System.View"
	case *types.NotAuthenticated:
		x.Object, x.PrivilegeId = &vm, "System.View"
	case *types.InvalidPowerState:
		x.RequestedState, x.ExistingState = types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOff
	case *types.ManagedObjectNotFound:
		x.Obj = vm
	case *types.GenericVmConfigFault:
		x.Reason = "injected"
	case *types.SystemError:
		x.Reason = "injected"
	}
	if message != "" {
		say(f, "msg.lab.injected", "%s", message)
	}
	return f, nil
}
