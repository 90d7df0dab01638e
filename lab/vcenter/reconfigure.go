package main

import (
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// labVM is a VM whose changes obey the lab's rules. Everything else is the simulator's.
type labVM struct {
	*simulator.VirtualMachine
	l *lab
}

// ReconfigVMTask changes devices and settings, as one task and all or nothing.
func (v *labVM) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	vm, l, spec, body := v.VirtualMachine, v.l, req.Spec, &methods.ReconfigVM_TaskBody{}
	task, f := l.start(ctx, vm, job{
		method: "ReconfigVM_Task", describe: "reconfigure", delay: l.delays.delayOf(&spec),
		check: func() types.BaseMethodFault {
			_, f := l.planFor(vm, &spec)
			return f
		},
		work: func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, l.change(ctx, vm, &spec, l.hook)
		},
	})
	if f != nil {
		body.Fault_ = simulator.Fault(faultText(f), f)
		return body
	}
	body.Res = &types.ReconfigVM_TaskResponse{Returnval: task}
	return body
}

// change makes the spec true: judge, take the locks of the files, let the nodes follow, commit.
// The caller does not hold the VM's lock.
func (l *lab) change(ctx *simulator.Context, vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec, h *hook) (fault types.BaseMethodFault) {
	var p *plan
	l.locked(ctx, vm, func() { p, fault = l.planFor(vm, spec) })
	if fault != nil {
		return fault
	}
	if file, ok := l.vmfs.claim(vm.Self, p.opens); !ok {
		pause(l.delays.get("locked"))
		return lockFault(p.slotOf(file), file)
	}
	defer l.vmfs.release(vm.Self)
	if fault = h.follow(p.steps); fault != nil {
		return fault
	}
	followed := p.steps // a second plan that is refused is none, and these have been followed all the same
	l.locked(ctx, vm, func() {
		// the guest may have halted and the control interface may have made a snapshot meanwhile
		if p, fault = l.planFor(vm, spec); fault == nil {
			fault = p.commit(ctx, spec)
		}
	})
	if fault != nil {
		h.takeBack(followed)
	}
	return fault
}

// slotOf names the place where the file was to go.
func (p *plan) slotOf(file string) string {
	for _, d := range disksOf(p.devices) {
		if fileOf(d) == file {
			return slot(controller(p.devices, d.ControllerKey), d)
		}
	}
	return file
}

// commit writes the plan into the VM. The caller holds the VM's lock.
func (p *plan) commit(ctx *simulator.Context, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	for path, kb := range p.creates {
		if err := p.l.createDiskFile(path, stableUUID(path), kb); err != nil {
			return say(&types.CannotCreateFile{FileFault: types.FileFault{File: path}}, "msg.lab.file", "%v", err)
		}
	}
	var changes []types.PropertyChange
	if len(spec.DeviceChange) > 0 {
		changes = append(changes,
			types.PropertyChange{Name: "config.hardware.device", Val: p.devices},
			types.PropertyChange{Name: "summary.config.numVirtualDisks", Val: int32(len(disksOf(p.devices)))})
	}
	if len(spec.ExtraConfig) > 0 {
		changes = append(changes, types.PropertyChange{Name: "config.extraConfig", Val: merged(p.vm.Config.ExtraConfig, spec.ExtraConfig)})
	}
	if spec.Annotation != "" {
		changes = append(changes,
			types.PropertyChange{Name: "config.annotation", Val: spec.Annotation},
			types.PropertyChange{Name: "summary.config.annotation", Val: spec.Annotation})
	}
	p.l.update(ctx, p.vm, append(changes, p.l.nextVersion()))
	for _, path := range p.deletes {
		p.l.deleteDiskFile(path)
	}
	return nil
}

// deleteDiskFile removes a VMDK's descriptor and extent.
func (l *lab) deleteDiskFile(path string) {
	if file, _, fault := l.realPath(path); fault == nil {
		_ = os.Remove(file)
		_ = os.Remove(simulator.VirtualDiskBackingFileName(file))
	}
	l.disks.drop(path)
}

// merged returns the settings after the changes; an empty value removes one.
func merged(now, changes []types.BaseOptionValue) []types.BaseOptionValue {
	out := append([]types.BaseOptionValue{}, now...)
	for _, c := range changes {
		o := c.GetOptionValue()
		kept := out[:0:0]
		for _, have := range out {
			if have.GetOptionValue().Key != o.Key {
				kept = append(kept, have)
			}
		}
		if o.Value != nil && o.Value != "" {
			kept = append(kept, o)
		}
		out = kept
	}
	return out
}
