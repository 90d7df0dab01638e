package main

import (
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Of two calls that pass the gate in the same moment only one becomes a task.
func TestOneTaskAtATime(t *testing.T) {
	l := twoVMs(t, "")
	vm := vmOf(t, l, "a")
	ended := make(chan bool)
	work := func(*simulator.Context) (types.AnyType, types.BaseMethodFault) {
		ended <- true
		return nil, nil
	}
	_, f := l.start(l.ctx(), vm, job{method: "x", describe: "x", work: work})
	expect(t, f, "")
	_, f = l.start(l.ctx(), vm, job{method: "x", describe: "x", work: work})
	expect(t, f, "TaskInProgress")
	_, f = l.start(l.ctx(), vmOf(t, l, "b"), job{method: "x", describe: "x", work: work})
	expect(t, f, "")
	<-ended
	<-ended
}

// A panic in a task ends the task and leaves the VM usable.
func TestPanicInATask(t *testing.T) {
	l := twoVMs(t, "")
	vm := vmOf(t, l, "a")
	_, f := l.perform(l.ctx(), vm, job{method: "x", check: func() types.BaseMethodFault { panic("on purpose") }})
	expect(t, f, "SystemError")
	expect(t, l.change(l.ctx(), vm, spec(removing(2016)), nil), "")
}
