package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	toolsRunning    = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	toolsNotRunning = string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning)
)

// askable refuses what needs a running guest with running tools. The caller holds the VM's lock.
func (v *labVM) askable() types.BaseMethodFault {
	if v.Runtime.PowerState != on {
		return wrongPower(on, v.Runtime.PowerState)
	}
	if v.Guest.ToolsRunningStatus != toolsRunning {
		return new(types.ToolsUnavailable)
	}
	return nil
}

// ShutdownGuest asks the guest to halt and returns at once, as vSphere does; the power goes off when
// the guest is down, which takes the delay "shutdown" and is refused by the hook if the guest hangs.
func (v *labVM) ShutdownGuest(_ *simulator.Context, _ *types.ShutdownGuest) soap.HasFault {
	if f := v.askable(); f != nil {
		return &methods.ShutdownGuestBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	v.later("ShutdownGuest", "shutdown", "poweroff", off)
	return &methods.ShutdownGuestBody{Res: &types.ShutdownGuestResponse{}}
}

// RebootGuest asks the guest to boot anew.
func (v *labVM) RebootGuest(_ *simulator.Context, _ *types.RebootGuest) soap.HasFault {
	if f := v.askable(); f != nil {
		return &methods.RebootGuestBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	v.later("RebootGuest", "shutdown", "reset", on)
	return &methods.RebootGuestBody{Res: &types.RebootGuestResponse{}}
}

// StandbyGuest asks the guest to suspend itself.
func (v *labVM) StandbyGuest(_ *simulator.Context, _ *types.StandbyGuest) soap.HasFault {
	if f := v.askable(); f != nil {
		return &methods.StandbyGuestBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	v.later("StandbyGuest", "shutdown", "suspend", suspended)
	return &methods.StandbyGuestBody{Res: &types.StandbyGuestResponse{}}
}

// TerminateVM ends the VM at once, without a task.
func (v *labVM) TerminateVM(_ *simulator.Context, _ *types.TerminateVM) soap.HasFault {
	if v.Runtime.PowerState == off {
		f := wrongPower(off, off)
		return &methods.TerminateVMBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	v.later("TerminateVM", "", "poweroff", off)
	return &methods.TerminateVMBody{Res: &types.TerminateVMResponse{}}
}

// later does what the guest was asked for, beside the call.
func (v *labVM) later(method, delay, op string, to types.VirtualMachinePowerState) {
	vm, l := v.VirtualMachine, v.l
	record := l.ledger.begin(method, vm.Name)
	go func() {
		time.Sleep(l.delays.get(delay))
		fault := l.turn(l.ctx(), vm, op, to, func() types.BaseMethodFault {
			if vm.Runtime.PowerState == off {
				return wrongPower(to, off)
			}
			return nil
		})
		name := ""
		if fault != nil {
			name = faultName(fault)
		}
		l.ledger.end(record, name)
	}()
}

// setGuest is what the control interface says about a guest.
func (l *lab) setGuest(vm *simulator.VirtualMachine, heartbeat, tools, address string) {
	var changes []types.PropertyChange
	if heartbeat != "" {
		h := types.ManagedEntityStatus(heartbeat)
		changes = append(changes,
			types.PropertyChange{Name: "guestHeartbeatStatus", Val: h},
			types.PropertyChange{Name: "summary.quickStats.guestHeartbeatStatus", Val: h})
	}
	if tools != "" {
		changes = append(changes, types.PropertyChange{Name: "guest.toolsRunningStatus", Val: tools})
	}
	if address != "" {
		changes = append(changes, types.PropertyChange{Name: "guest.ipAddress", Val: address})
	}
	ctx := l.ctx()
	l.locked(ctx, vm, func() { l.update(ctx, vm, changes) })
}

// setQuestion lets the VM wait for an answer; no text ends that.
func (l *lab) setQuestion(vm *simulator.VirtualMachine, id, text string) {
	var asked types.AnyType
	if text != "" {
		choice := &types.ElementDescription{Description: types.Description{Label: "Cancel", Summary: "Cancel"}, Key: "0"}
		asked = types.VirtualMachineQuestionInfo{
			Id: id, Text: text,
			Choice:  types.ChoiceOption{ChoiceInfo: []types.BaseElementDescription{choice}},
			Message: []types.VirtualMachineMessage{{Id: id, Text: text}},
		}
	}
	ctx := l.ctx()
	l.locked(ctx, vm, func() {
		l.update(ctx, vm, []types.PropertyChange{
			{Name: "runtime.question", Val: asked},
			{Name: "summary.runtime.question", Val: asked},
		})
	})
}

// setReach loses or finds one VM alone, while its host is well: its files are out of reach, say.
func (l *lab) setReach(vm *simulator.VirtualMachine, state types.VirtualMachineConnectionState) {
	ctx := l.ctx()
	l.locked(ctx, vm, func() { l.showReach(ctx, vm, state) })
}

func (l *lab) showReach(ctx *simulator.Context, vm *simulator.VirtualMachine, state types.VirtualMachineConnectionState) {
	l.update(ctx, vm, []types.PropertyChange{
		{Name: "runtime.connectionState", Val: state},
		{Name: "summary.runtime.connectionState", Val: state},
	})
}

// setHost loses or finds a host. The VMs on it follow; what happened to them meanwhile shows on return.
func (l *lab) setHost(h *simulator.HostSystem, state types.HostSystemConnectionState) {
	ctx := l.ctx()
	l.locked(ctx, h, func() {
		l.update(ctx, h, []types.PropertyChange{{Name: "runtime.connectionState", Val: state}})
	})
	vmState := types.VirtualMachineConnectionStateDisconnected
	if state == types.HostSystemConnectionStateConnected {
		vmState = types.VirtualMachineConnectionStateConnected
	}
	for _, vm := range l.vms() {
		if vm.Runtime.Host == nil || *vm.Runtime.Host != h.Self {
			continue
		}
		l.locked(ctx, vm, func() {
			if vmState == types.VirtualMachineConnectionStateConnected {
				l.reveal(ctx, vm)
			}
			l.showReach(ctx, vm, vmState)
		})
	}
}

// reveal shows the true power state of a VM whose host came back. The caller holds the VM's lock.
func (l *lab) reveal(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	l.mu.Lock()
	to, hidden := l.unseen[vm.Self]
	delete(l.unseen, vm.Self)
	l.mu.Unlock()
	if hidden && to != vm.Runtime.PowerState {
		l.showPower(ctx, vm, to)
	}
}
