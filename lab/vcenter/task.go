package main

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// job is the work of one task on a VM.
//
// The simulator runs tasks with the VM's lock held, so that nobody can read the VM
// meanwhile. The lab runs its own: check and work take the lock only for the moments
// in which they look or change.
type job struct {
	method, describe string
	delay            time.Duration
	check            func() types.BaseMethodFault // at once, with the VM's lock held
	work             func(*simulator.Context) (types.AnyType, types.BaseMethodFault)
}

// start runs the job as a task. It fails, as the call itself, while another task of the VM runs.
// The caller holds the VM's lock.
func (l *lab) start(ctx *simulator.Context, vm *simulator.VirtualMachine, j job) (ref, types.BaseMethodFault) {
	t := simulator.CreateTask(vm, j.describe, nil)
	t.Info.Name, t.Info.EntityName = j.method, vm.Name
	if ctx.Session != nil {
		t.Info.Reason = &types.TaskReasonUser{UserName: ctx.Session.UserName}
	}
	if busy, ok := l.occupy(vm.Self, ref{Type: "Task", Value: "task-0"}); !ok {
		return ref{}, &types.TaskInProgress{Task: busy}
	}
	l.reg.Put(t) // gives it its reference
	l.setBusy(vm.Self, t.Self)
	work := l.ctx()
	now := time.Now()
	l.locked(work, t, func() {
		t.Info.Key, t.Info.Task = t.Self.Value, t.Self
		work.Update(t, []types.PropertyChange{{Name: "info.startTime", Val: now}, {Name: "info.state", Val: types.TaskInfoStateRunning}})
	})
	go l.run(work, vm, t, j)
	return t.Self, nil
}

// occupy marks the VM as busy, or says which task runs already.
func (l *lab) occupy(vm, task ref) (ref, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, ok := l.busy[vm]; ok {
		return t, false
	}
	l.busy[vm] = task
	return ref{}, true
}

func (l *lab) setBusy(vm, task ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[vm] = task
}

func (l *lab) vacate(vm ref) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, vm)
}

func (l *lab) running(vm ref) (ref, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.busy[vm]
	return t, ok
}

// runs says whether the task is one of the lab's that has not ended.
func (l *lab) runs(task ref) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.busy {
		if t == task {
			return true
		}
	}
	return false
}

func (l *lab) run(ctx *simulator.Context, vm *simulator.VirtualMachine, t *simulator.Task, j job) {
	record := l.ledger.begin(j.method, vm.Name)
	result, fault := l.perform(ctx, vm, j)
	name := ""
	if fault != nil {
		name = faultName(fault)
	}
	l.ledger.end(record, name)
	l.vacate(vm.Self) // before the task's state: who sees success may start the next
	l.finish(ctx, t, result, fault)
}

// perform does the job; a panic in it becomes the task's fault.
func (l *lab) perform(ctx *simulator.Context, vm *simulator.VirtualMachine, j job) (result types.AnyType, fault types.BaseMethodFault) {
	defer func() {
		if r := recover(); r != nil {
			logf("panic in %s of %s: %v\n%s", j.method, vm.Name, r, debug.Stack())
			result, fault = nil, &types.SystemError{Reason: fmt.Sprint(r)}
		}
	}()
	if j.check != nil {
		l.locked(ctx, vm, func() { fault = j.check() })
		if fault != nil {
			return nil, fault
		}
	}
	time.Sleep(j.delay)
	if f := l.faults.take(j.method, vm.Name, "task"); f != nil {
		return nil, f
	}
	if !l.connected(vm) {
		return nil, new(types.HostNotConnected)
	}
	return j.work(ctx)
}

func (l *lab) finish(ctx *simulator.Context, t *simulator.Task, result types.AnyType, fault types.BaseMethodFault) {
	state := types.TaskInfoStateSuccess
	var failure any
	if fault != nil {
		state = types.TaskInfoStateError
		failure = types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultText(fault)}
	}
	l.reg.AtomicUpdate(ctx, t, []types.PropertyChange{
		{Name: "info.completeTime", Val: time.Now()},
		{Name: "info.result", Val: result},
		{Name: "info.error", Val: failure},
		{Name: "info.state", Val: state},
	})
}
