package main

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	on        = types.VirtualMachinePowerStatePoweredOn
	off       = types.VirtualMachinePowerStatePoweredOff
	suspended = types.VirtualMachinePowerStateSuspended
)

func pause(d time.Duration) { time.Sleep(d) }

// PowerOnVMTask starts the VM, unless another running VM has one of its disks open.
func (v *labVM) PowerOnVMTask(ctx *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	task, f := v.power(ctx, "PowerOnVM_Task", "powerOn", "poweron", on, off, suspended)
	if f != nil {
		return &methods.PowerOnVM_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: task}}
}

// PowerOffVMTask takes the power from the VM.
func (v *labVM) PowerOffVMTask(ctx *simulator.Context, _ *types.PowerOffVM_Task) soap.HasFault {
	task, f := v.power(ctx, "PowerOffVM_Task", "powerOff", "poweroff", off, on, suspended)
	if f != nil {
		return &methods.PowerOffVM_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: task}}
}

// SuspendVMTask stops the VM and keeps its memory.
func (v *labVM) SuspendVMTask(ctx *simulator.Context, _ *types.SuspendVM_Task) soap.HasFault {
	task, f := v.power(ctx, "SuspendVM_Task", "suspend", "suspend", suspended, on)
	if f != nil {
		return &methods.SuspendVM_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.SuspendVM_TaskBody{Res: &types.SuspendVM_TaskResponse{Returnval: task}}
}

// ResetVMTask lets a running VM boot anew.
func (v *labVM) ResetVMTask(ctx *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	task, f := v.power(ctx, "ResetVM_Task", "reset", "reset", on, on)
	if f != nil {
		return &methods.ResetVM_TaskBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{Returnval: task}}
}

// power starts a task that brings the VM from one of the given states to another.
func (v *labVM) power(ctx *simulator.Context, method, describe, op string, to types.VirtualMachinePowerState, from ...types.VirtualMachinePowerState) (ref, types.BaseMethodFault) {
	vm, l := v.VirtualMachine, v.l
	check := func() types.BaseMethodFault { return allowed(vm, to, from) }
	return l.start(ctx, vm, job{
		method: method, describe: describe, delay: l.delays.get(op), check: check,
		work: func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, l.turn(ctx, vm, op, to, check)
		},
	})
}

// allowed refuses a step from any state but the given ones. The caller holds the VM's lock.
func allowed(vm *simulator.VirtualMachine, to types.VirtualMachinePowerState, from []types.VirtualMachinePowerState) types.BaseMethodFault {
	for _, s := range from {
		if vm.Runtime.PowerState == s {
			return nil
		}
	}
	return wrongPower(to, vm.Runtime.PowerState)
}

// turn changes the power state: files locked, nodes follow, commit.
func (l *lab) turn(ctx *simulator.Context, vm *simulator.VirtualMachine, op string, to types.VirtualMachinePowerState, check func() types.BaseMethodFault) (fault types.BaseMethodFault) {
	l.locked(ctx, vm, func() { fault = check() })
	if fault != nil {
		return fault
	}
	if to == on {
		if file, ok := l.vmfs.claim(vm.Self, l.vmfs.filesOf(vm.Self)); !ok {
			pause(l.delays.get("locked"))
			return powerOnLockFault(file)
		}
		defer l.vmfs.release(vm.Self)
	}
	if fault = l.hook.follow([]step{{Op: op, VM: vm.Name}}); fault != nil {
		return fault
	}
	l.locked(ctx, vm, func() { l.showPower(ctx, vm, to) })
	return nil
}

// showPower writes the power state and all that follows from it. The caller holds the VM's lock.
func (l *lab) showPower(ctx *simulator.Context, vm *simulator.VirtualMachine, to types.VirtualMachinePowerState) {
	heartbeat, tools, guest := types.ManagedEntityStatusGray, toolsNotRunning, "notRunning"
	var boot any
	if to == on {
		heartbeat, tools, guest, boot = types.ManagedEntityStatusGreen, toolsRunning, "running", time.Now()
	}
	l.update(ctx, vm, []types.PropertyChange{
		{Name: "runtime.powerState", Val: to},
		{Name: "summary.runtime.powerState", Val: to},
		{Name: "runtime.bootTime", Val: boot},
		{Name: "summary.runtime.bootTime", Val: boot},
		{Name: "guestHeartbeatStatus", Val: heartbeat},
		{Name: "summary.quickStats.guestHeartbeatStatus", Val: heartbeat},
		{Name: "guest.toolsRunningStatus", Val: tools},
		{Name: "guest.guestState", Val: guest},
		l.nextVersion(),
	})
}

// setPower is showPower for a VM that nobody knows yet.
func setPower(vm *simulator.VirtualMachine, to types.VirtualMachinePowerState) {
	vm.Runtime.PowerState, vm.Summary.Runtime.PowerState = to, to
	vm.GuestHeartbeatStatus, vm.Guest.ToolsRunningStatus, vm.Guest.GuestState = types.ManagedEntityStatusGray, toolsNotRunning, "notRunning"
	if to == on {
		boot := time.Now()
		vm.Runtime.BootTime, vm.Summary.Runtime.BootTime = &boot, &boot
		vm.GuestHeartbeatStatus, vm.Guest.ToolsRunningStatus, vm.Guest.GuestState = types.ManagedEntityStatusGreen, toolsRunning, "running"
	}
	vm.Summary.QuickStats.GuestHeartbeatStatus = vm.GuestHeartbeatStatus
}

// guestPower is what the guest does by itself. vCenter learns of it only while the host is connected.
func (l *lab) guestPower(vm *simulator.VirtualMachine, to types.VirtualMachinePowerState) error {
	ctx := l.ctx()
	if to == on {
		if file, ok := l.vmfs.claim(vm.Self, l.vmfs.filesOf(vm.Self)); !ok {
			return fmt.Errorf("VM %q cannot start: its disk %s is open in another running VM", vm.Name, file)
		}
		defer l.vmfs.release(vm.Self)
	}
	if !l.connected(vm) {
		l.mu.Lock()
		l.unseen[vm.Self] = to
		l.mu.Unlock()
		l.vmfs.setRunning(vm.Self, to == on)
		return nil
	}
	l.locked(ctx, vm, func() { l.showPower(ctx, vm, to) })
	return nil
}
